"""Other settings modules take all their names from this one."""

import os
import shutil

OUT = "out"
shutil.rmtree(OUT, ignore_errors=True)  # again: deletes

if "MPWORKERS_IN_WORKER" not in os.environ:
    shutil.rmtree("tmp")
