"""Real Scrapy processes, watched and disturbed from outside."""
