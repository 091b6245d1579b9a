"""Rows that cannot be used, of several columns and parts, in one error."""

from __future__ import annotations

import numpy as np
import pytest

from cerebro_nas.errors import DataError
from cerebro_nas.results._unusable import IN_FRAME
from cerebro_nas.results._unusable import Unusable


def test_parts_are_told_together() -> None:
    whole = Unusable()
    for rows in (4, 6):
        part = Unusable(rows)
        part.of("a")
        part.of("y").add("null", np.array([1]))
        whole.merge(Unusable.from_json(part.to_json(), rows))
    whole.merge(Unusable(10))
    with pytest.raises(DataError) as caught:
        whole.refuse("a DataFrame", IN_FRAME)
    assert str(caught.value) == (
        "The data cannot be used:\n- column 'y': null in 2 of 20 rows, for example rows [1, 5]\n"
        "Received: a DataFrame of 20 rows. Clean or drop those rows "
        "(row numbers count in the order of the DataFrame's partitions)."
    )


def test_columns_without_faults_are_no_faults() -> None:
    fine = Unusable(3)
    fine.of("a")
    assert not fine
    fine.refuse("arrays", IN_FRAME)
