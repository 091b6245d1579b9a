"""One search: the loop between tuner, scheduler and backend, its books, and the settings it starts from."""

from cerebro_nas.search._asking import trial_seed
from cerebro_nas.search._books import Books
from cerebro_nas.search._budgets import Budgets
from cerebro_nas.search._claim import SearchClaim
from cerebro_nas.search._driver import SearchDriver
from cerebro_nas.search._driver import SearchParts
from cerebro_nas.search._identity import FORCEABLE
from cerebro_nas.search._identity import began_with
from cerebro_nas.search._identity import check_data
from cerebro_nas.search._identity import check_same
from cerebro_nas.search._identity import describe_search
from cerebro_nas.search._identity import identity_of
from cerebro_nas.search._ledger import Ledger
from cerebro_nas.search._preparing import num_train_shards
from cerebro_nas.search._preparing import prepare
from cerebro_nas.search._replay import replay
from cerebro_nas.search._session import SearchPlan
from cerebro_nas.search._session import check_evaluation_metric
from cerebro_nas.search._session import check_objective
from cerebro_nas.search._session import run_search
from cerebro_nas.search._session import search_spec
from cerebro_nas.search._settings import FitArguments
from cerebro_nas.search._settings import Resources
from cerebro_nas.search._settings import Settings
from cerebro_nas.search._settings import check_directory
from cerebro_nas.search._settings import check_verbose
from cerebro_nas.search._settings import make_fit_arguments
from cerebro_nas.search._settings import make_resources
from cerebro_nas.search._settings import refuse_unknown
from cerebro_nas.search._signals import StopSignals
from cerebro_nas.search._stopping import StoppingRule
from cerebro_nas.search._stopping import split_callbacks
from cerebro_nas.search._watch import Watch

__all__ = [
    "Books",
    "Budgets",
    "FORCEABLE",
    "FitArguments",
    "Ledger",
    "Resources",
    "SearchClaim",
    "SearchDriver",
    "SearchParts",
    "SearchPlan",
    "Settings",
    "StopSignals",
    "StoppingRule",
    "Watch",
    "began_with",
    "check_data",
    "check_directory",
    "check_evaluation_metric",
    "check_objective",
    "check_same",
    "check_verbose",
    "describe_search",
    "identity_of",
    "make_fit_arguments",
    "make_resources",
    "num_train_shards",
    "prepare",
    "refuse_unknown",
    "replay",
    "run_search",
    "search_spec",
    "split_callbacks",
    "trial_seed",
]
