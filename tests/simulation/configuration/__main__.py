"""`python -m tests.simulation.configuration`: as `python -m tests.simulation`, of the controller."""

import sys

from tests.simulation.__main__ import main
from tests.simulation.configuration.simulate import simulate_configuration

if __name__ == "__main__":
    sys.exit(main("tests.simulation.configuration", simulate_configuration))
