"""Early stopping, the best checkpoint and the learning rate on a plateau, driven by hand against plain oracles."""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from helpers import by_hand
from helpers.builders import examples
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.callbacks import Callback, Callbacks, Control, Record
from vaeflow.callbacks.builtin import best_checkpoint, early_stopping, reduce_on_plateau
from vaeflow.callbacks.group import Called
from vaeflow.errors import PluginError, UnsavedError, UsageError

METRIC = "test/elbo"
RATE = 0.5
VALUES = st.lists(
    st.one_of(st.integers(-4, 4).map(float), st.sampled_from([math.nan, math.inf, -math.inf])), max_size=16
)
MODES = st.sampled_from(["max", "min"])
DELTAS = st.sampled_from([0.0, 1.0, 2.5])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's view with a test split; each example takes a control of its own."""
    dataset = replace(by_hand.rows(), test=by_hand.rows().train)
    return by_hand.view_of(tmp_path_factory.mktemp("run"), dataset, said=[])


def asked_of(callback, values, run, *, resumed_at=None, rebuilt=None):
    """Return what a callback asks after each evaluation; on the way it may be saved as JSON and built anew."""
    control = Control(learning_rate=RATE)
    view = replace(run, control=control)
    asked = []
    for number, value in enumerate(values):
        if number == resumed_at:
            state = json.loads(json.dumps(Callbacks([Called.own(callback)], view).states(), allow_nan=False))
            callback = rebuilt
            Callbacks([Called.own(callback)], view).restore(state)
        Callbacks([Called.own(callback)], view).tell("on_evaluation", Record(number, float(number), {METRIC: value}))
        asked.append(control.take())
    return asked


def improvements(values, mode, delta):
    """Return for each value whether it is finite and better than all finite ones that were, by more than delta."""
    found, best = [], None
    for value in values:
        gain = math.inf if best is None else (value - best if mode == "max" else best - value)
        found.append(math.isfinite(value) and gain > delta)
        best = value if found[-1] else best
    return found


@given(VALUES, MODES, DELTAS, st.integers(1, 4))
@examples(150)
def test_it_stops_after_patience_evaluations_without_gain(run, values, mode, delta, patience):
    better = improvements(values, mode, delta)
    asked = asked_of(early_stopping(metric=METRIC, mode=mode, patience=patience, min_delta=delta), values, run)
    expected = [
        number + 1 >= patience and not any(better[number + 1 - patience : number + 1]) for number in range(len(values))
    ]
    assert [bool(a.stop) for a in asked] == expected
    assert not any(a.save or a.learning_rate for a in asked)


def test_it_says_why(run):
    asked = asked_of(early_stopping(metric=METRIC, patience=2), [-150.0, -143.2, -144.0, math.nan], run)
    assert [a.stop for a in asked] == ["", "", "", "test/elbo has not risen for 2 evaluations (best -143.2)"]
    asked = asked_of(early_stopping(metric=METRIC, mode="min", patience=1), [math.nan], run)
    assert asked[0].stop == "test/elbo has not fallen for 1 evaluation (best none)"


@given(VALUES, MODES)
@examples(100)
def test_the_best_one_is_saved_each_time(run, values, mode):
    asked = asked_of(best_checkpoint(metric=METRIC, mode=mode), values, run)
    expected = [v if better else None for v, better in zip(values, improvements(values, mode, 0.0), strict=True)]
    assert [a.best for a in asked] == expected
    assert [a.save for a in asked] == [value is not None for value in expected]


def rates(values, *, mode, delta, patience, factor, minimum):
    """Return the learning rate after each evaluation."""
    found, rate, waited = [], RATE, 0
    for better in improvements(values, mode, delta):
        waited = 0 if better else waited + 1
        if waited == patience:
            rate, waited = max(rate * factor, min(minimum, rate)), 0
        found.append(rate)
    return found


@given(
    values=VALUES,
    mode=MODES,
    delta=DELTAS,
    patience=st.integers(1, 3),
    factor=st.sampled_from([0.5, 0.1]),
    minimum=st.sampled_from([0.0, 0.2, 0.7]),
)
@examples(150)
def test_the_learning_rate_falls_after_each_plateau(run, *, values, mode, delta, patience, factor, minimum):
    callback = reduce_on_plateau(
        metric=METRIC, mode=mode, patience=patience, factor=factor, minimum=minimum, min_delta=delta
    )
    rate, found = RATE, []
    for asked in asked_of(callback, values, run):
        assert asked.learning_rate is None or asked.learning_rate < rate  # nothing is asked that changes nothing
        rate = asked.learning_rate or rate
        found.append(rate)
    assert found == pytest.approx(
        rates(values, mode=mode, delta=delta, patience=patience, factor=factor, minimum=minimum)
    )


def test_it_says_what_becomes_of_the_learning_rate(tmp_path, said):
    dataset = replace(by_hand.rows(), test=by_hand.rows().train)
    asked_of(reduce_on_plateau(metric=METRIC, patience=1), [1.0, 0.0], by_hand.view_of(tmp_path, dataset, said=said))
    assert said == ["test/elbo has not risen for 1 evaluation (best 1): learning rate 0.5 becomes 0.25"]


BUILDS = {
    "early-stopping": lambda mode, delta, patience: early_stopping(
        metric=METRIC, mode=mode, patience=patience, min_delta=delta
    ),
    "best-checkpoint": lambda mode, delta, patience: best_checkpoint(metric=METRIC, mode=mode),
    "reduce-on-plateau": lambda mode, delta, patience: reduce_on_plateau(
        metric=METRIC, mode=mode, patience=patience, min_delta=delta
    ),
}


@pytest.mark.parametrize("name", BUILDS)
@given(values=VALUES, mode=MODES, delta=DELTAS, patience=st.integers(1, 3), resumed_at=st.integers(0, 15))
@examples(100)
def test_a_resume_in_the_middle_changes_nothing(run, name, *, values, mode, delta, patience, resumed_at):
    first, second, third = (BUILDS[name](mode, delta, patience) for _ in range(3))
    whole = asked_of(first, values, run)
    assert asked_of(second, values, run, resumed_at=resumed_at, rebuilt=third) == whole


@pytest.mark.parametrize("build", [early_stopping, best_checkpoint, reduce_on_plateau])
def test_unknown_metric_is_an_error_before_the_first_step(run, build):
    view = replace(run, control=Control(learning_rate=RATE))
    build(metric="test/kl").on_start(view)
    for metric in ("validation/elbo", "train/elbo", "test/iw-bound"):
        with pytest.raises(
            UsageError, match=rf"^no evaluation has the metric '{metric}'; .*vailable: test/active_units"
        ):
            build(metric=metric).on_start(view)


def test_a_schedule_is_known_before_the_first_step(run):
    with pytest.raises(UsageError, match="'reduce-on-plateau' needs a learning_rate that is a number, not a schedule"):
        reduce_on_plateau(metric=METRIC).on_start(replace(run, control=Control(learning_rate=None)))


# Control


def test_numbers_of_numpy_may_be_asked_for():
    control = Control(learning_rate=RATE)
    control.enter("on_log")
    control.set_learning_rate(np.float32(0.25))
    control.save_best(np.float32(-3.5))
    asked = control.take()
    assert json.dumps([asked.learning_rate, asked.best]) == "[0.25, -3.5]"


def test_the_first_reason_to_stop_counts_and_is_one_line():
    control = Control()
    control.enter("on_epoch")
    control.stop("enough\n of it")
    control.stop("another")
    assert control.take().stop == "enough of it"
    assert control.take().stop == ""
    with pytest.raises(PluginError, match="needs a reason"):
        control.stop(" \n")


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_learning_rate_is_above_zero(rate):
    control = Control(learning_rate=RATE)
    control.enter("on_log")
    with pytest.raises(PluginError, match="a learning rate must be above 0"):
        control.set_learning_rate(rate)


@pytest.mark.parametrize("moment", ["", "on_start", "on_steps", "on_checkpoint", "on_end"])
@pytest.mark.parametrize("request_", [("stop", "why"), ("set_learning_rate", 1.0), ("save",), ("save_best", 1.0)])
def test_some_moments_may_not_ask(moment, request_):
    control = Control(learning_rate=RATE)
    control.enter(moment)
    method, *arguments = request_
    with pytest.raises(
        PluginError, match=rf"run\.control\.{method} was called in {moment or 'no method of a callback'}"
    ):
        getattr(control, method)(*arguments)
    assert control.take() == Control().take()


# States


class Remembers(Callback):
    def __init__(self, state=None):
        self.kept = state or {}

    def state(self):
        return self.kept

    def restore(self, state):
        self.kept = state


class Other(Remembers):
    pass


def test_states_find_their_callbacks_when_others_come_and_go(run):
    before = [Other({"o": 1}), Remembers(), Remembers({"second": [1, None, "x"]})]
    states = Callbacks(list(map(Called.own, before)), run).states()
    after = [Remembers(), Callback(), Remembers(), Other(), Other()]
    Callbacks(list(map(Called.own, after)), run).restore(json.loads(json.dumps(states)))
    assert [callback.kept for callback in after if isinstance(callback, Remembers)] == [
        {},
        {"second": [1, None, "x"]},
        {"o": 1},
        {},
    ]


def test_callback_failing_during_an_error_is_reported(run, monkeypatch):
    said, told = [], []

    def fails(*_):
        raise KeyError("best\nof all")

    monkeypatch.setattr(Other, "on_exception", fails)
    monkeypatch.setattr(Remembers, "on_exception", lambda _, view, error: told.append(error), raising=False)
    error = RuntimeError("first")
    both = [Called.own(Other()), Called.own(Remembers())]
    Callbacks(both, replace(run, say=said.append)).tell_of(error)
    assert told == [error]
    assert said == [r"warning: callback Other, on_exception: KeyError: 'best\nof all'"]


def test_states_are_told_apart_by_the_components_names(run):
    """Two plugins may call their classes alike."""
    first, second = (Called(Remembers({"of": name}), name, f"callback {name!r}") for name in ("first", "second"))
    states = Callbacks([first, second], run).states()
    left = Called(Remembers(), "second", "callback 'second'")
    run_said = []
    Callbacks([left], replace(run, say=run_said.append)).restore(states)
    assert left.callback.kept == {"of": "second"}
    assert run_said == ["warning: the checkpoint has a state of callback 'first', which this run does not have"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"a": {1, 2}}, "callback Remembers: its state can't be stored as JSON: Object of type set"),
        ({"a": math.nan}, "callback Remembers: its state can't be stored as JSON: Out of range"),
        (["a"], "callback Remembers: state returned list, not a dict"),
    ],
)
def test_a_state_that_is_no_json(run, state, expected):
    with pytest.raises(PluginError, match=expected):
        Callbacks([Called.own(Remembers(state))], run).states()


@pytest.mark.parametrize("method", ["state", "restore"])
def test_a_callback_that_fails_to_remember_is_named(run, method, monkeypatch):
    def fails(*_):
        raise KeyError("best")

    monkeypatch.setattr(Other, method, fails)
    with pytest.raises(PluginError, match=f"callback Other, {method}: KeyError: 'best'"):
        getattr(Callbacks([Called.own(Other())], run), method + "s" * (method == "state"))(
            *[[{"callback": "Other", "state": {"o": 1}}]][: method == "restore"]
        )


# Errors of the network


def connect(port):
    socket.create_connection(("127.0.0.1", port))


def open_page(port):
    urllib.request.urlopen(f"http://127.0.0.1:{port}/")


def resolve(_):
    socket.getaddrinfo("no-such-host.invalid", 80)


def ask(port):
    http.client.HTTPConnection("127.0.0.1", port).getresponse()


@pytest.mark.parametrize("fail", [connect, open_page, resolve, ask])
def test_a_network_that_fails_is_no_fault_of_the_plugin(fail, run):
    """Real errors: nothing listens on the port."""

    class Sends(Callback):
        def on_log(self, run, record):
            fail(port)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    said = []
    callbacks = Callbacks([Called.own(Sends())], replace(run, say=said.append))
    callbacks.tell("on_log", Record(1, 1.0, {}))
    assert re.fullmatch(r"warning: callback Sends could not write \(network: .+\); training continues", said[0])
    with pytest.raises(UnsavedError, match="network: "):
        callbacks.require_written()
