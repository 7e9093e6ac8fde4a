"""A package of a project that is called like a parameter of Scrapy's."""
