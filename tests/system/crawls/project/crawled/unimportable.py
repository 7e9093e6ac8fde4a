"""A module of pipelines whose import fails."""

import no_module_of_this_name  # noqa: F401


class Mark:
    pass
