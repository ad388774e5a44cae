import sys

from mentorsync.cli import main

sys.exit(main())
