"""One search: the loop between tuner, scheduler and backend, its books, and the settings it starts from."""

from cerebro_nas.search._books import Books
from cerebro_nas.search._driver import SearchDriver
from cerebro_nas.search._driver import SearchParts
from cerebro_nas.search._driver import trial_seed
from cerebro_nas.search._session import SearchPlan
from cerebro_nas.search._session import check_objective
from cerebro_nas.search._session import run_search
from cerebro_nas.search._session import search_spec
from cerebro_nas.search._settings import FitArguments
from cerebro_nas.search._settings import Resources
from cerebro_nas.search._settings import Settings
from cerebro_nas.search._settings import check_verbose
from cerebro_nas.search._settings import make_fit_arguments
from cerebro_nas.search._settings import make_resources
from cerebro_nas.search._settings import refuse_unknown
from cerebro_nas.search._stopping import StoppingRule
from cerebro_nas.search._stopping import split_callbacks

__all__ = [
    "Books",
    "FitArguments",
    "Resources",
    "SearchDriver",
    "SearchParts",
    "SearchPlan",
    "Settings",
    "StoppingRule",
    "check_objective",
    "check_verbose",
    "make_fit_arguments",
    "make_resources",
    "refuse_unknown",
    "run_search",
    "search_spec",
    "split_callbacks",
    "trial_seed",
]
