"""Workers that share a port: who starts when, what a death leads to, what reaches them, and how they end.

The parent's decisions are shown with workers that are only sockets and a clock that the test holds; the rest
with real processes.
"""

import asyncio
import math
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from gateway import process, workers
from gateway.config import Config, ConfigError, Server, Tls
from gateway.http1.limits import Limits
from gateway.sharing.frames import BROADCAST, add_name, add_number, frame
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.log_writer import LogWriter
from gateway.workers import Supervisor, Worker
from tests.support.spawned import CONFIG, PATIENCE, ROOT, get, spawned

TERM, HUP, INT = int(signal.SIGTERM), int(signal.SIGHUP), int(signal.SIGINT)

TLS = '[server]\ntls = { certificate = "c.pem", private_key = "k.pem" }\n'

DRAIN = 3.0

CONFIGURED = Config(server=Server(limits=Limits(drain_timeout=DRAIN)))


def printed() -> tuple[AccessLog, LogWriter]:
    return AccessLog(print), LogWriter(2, str)


class Process:
    """A worker's process: the orders it got, and its messages to the parent."""

    def __init__(self, worker: Worker, pid: int, config: Config) -> None:
        self.worker = worker
        self.pid = pid
        self.config = config
        self.code = 0
        self.killed = False
        self.channel, self.theirs = socket.socketpair()

    receive_ready = workers.WorkerProcess.receive_ready
    order = workers.WorkerProcess.order

    def kill(self) -> None:
        self.killed = True
        self.dies(-9)

    def wait(self) -> int:
        self.channel.close()
        return self.code

    def ready(self) -> None:
        self.theirs.send(workers.READY)

    def dies(self, code: int) -> None:
        self.code = code
        self.theirs.close()

    def handle_orders(self) -> list[int]:
        """Return the orders since the last call."""
        self.theirs.setblocking(False)
        try:
            return list(self.theirs.recv(64))
        except BlockingIOError:
            return []


class World:
    """A supervisor with `count` places. Each step is done when the supervisor waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int = 3) -> None:
        self.now = 1000.0
        self.processes: list[Process] = []
        self.states: list[str] = []
        self.lines: list[str] = []
        self.patience: list[float | None] = []
        """How long the supervisor was ready to wait, step by step."""
        self.closed: list[bool] = []
        """Which sockets the supervisor had closed at its end."""
        self.refuse = 0
        """How many forks fail from now on."""
        self.config = CONFIGURED
        self.sockets = [socket.socket() for _ in range(count)]
        places = [Worker([sock], first=number == 0) for number, sock in enumerate(self.sockets)]
        writer = LogWriter(2, str)
        log = AccessLog(lambda line: self.lines.append(line.partition(" ")[2]), "text", "info")
        self.supervisor = Supervisor(
            CONFIGURED, self.reload, lambda: (log, writer), places, self.states.append
        )
        monkeypatch.setattr(self.supervisor, "_fork", self.fork)
        monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(workers, "select", SimpleNamespace(select=self.wait))
        self._steps: Iterator[Callable[[], object]] = iter(())

    def fork(self, worker: Worker) -> Process:
        if self.refuse:
            self.refuse -= 1
            raise OSError(11, "Resource temporarily unavailable")
        self.processes.append(Process(worker, 100 + len(self.processes), self.supervisor._config))
        return self.processes[-1]

    def reload(self) -> Config:
        if self.config is None:
            raise ConfigError(["broken"])
        return self.config

    def wait(self, readers: list[Any], writers: list[Any], other: list[Any], patience: float | None) -> Any:
        self.patience.append(patience)
        next(self._steps)()
        # The real one refuses an endless float.
        assert patience != math.inf
        return select.select(readers, writers, other, 0)

    def run(self, *steps: Callable[[], object]) -> int:
        self._steps = iter(steps)
        code = self.supervisor.run()
        assert next(self._steps, None) is None, "it ended early"
        self.closed = [sock.fileno() < 0 for sock in self.sockets]
        for each in self.processes:
            each.theirs.close()
        for sock in self.sockets:
            sock.close()
        return code

    # Steps.

    def ready(self, *numbers: int) -> Callable[[], object]:
        def ready() -> None:
            for number in numbers:
                self.processes[number].ready()

        return ready

    def dies(self, number: int, code: int) -> Callable[[], object]:
        return lambda: self.processes[number].dies(code)

    def later(self, seconds: float) -> Callable[[], object]:
        def later() -> None:
            self.now += seconds

        return later

    def all_die(self) -> None:
        for each in self.processes:
            each.dies(0)

    def handle_orders(self, *expected: list[int]) -> Callable[[], object]:
        def look() -> None:
            assert [each.handle_orders() for each in self.processes if each.theirs.fileno() >= 0] == list(
                expected
            )

        return look

    def alive(self, count: int) -> Callable[[], object]:
        """The number of processes that were started."""

        def look() -> None:
            assert len(self.processes) == count

        return look


def raised(number: int) -> Callable[[], object]:
    return lambda: signal.raise_signal(number)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Signal handlers are restored after each test."""
    before = {number: signal.getsignal(number) for number in workers.SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in workers.SIGNALS} == before


def test_other_workers_start_when_the_first_serves(world: World) -> None:
    code = world.run(
        world.alive(1),
        world.ready(0),
        world.alive(3),
        lambda: world.states == [] or pytest.fail("notified too early"),
        world.ready(1, 2),
        raised(TERM),
        world.handle_orders([TERM], [TERM], [TERM]),
        world.all_die,
    )
    assert code == 0
    assert world.states == ["ready", "stopping"]
    assert world.lines == []
    assert [each.worker.first for each in world.processes] == [True, False, False]
    assert world.patience[:5] == [None] * 5
    assert world.patience[-2:] == [DRAIN + workers.GRACE] * 2
    assert world.closed == [True] * 3


@pytest.mark.parametrize(
    ("ended", "code", "lines"),
    [
        (2, 2, []),
        (1, 1, ["error: worker 100 ended with exit code 1"]),
        (-9, 1, ["error: worker 100 ended with signal 9"]),
        (0, 1, ["error: worker 100 ended with exit code 0"]),
    ],
)
def test_a_first_worker_that_cannot_serve_ends_the_supervisor(
    world: World, ended: int, code: int, lines: list[str]
) -> None:
    assert world.run(world.dies(0, ended)) == code
    assert (len(world.processes), world.lines, world.states) == (1, lines, [])


def test_a_long_running_worker_is_replaced_at_once(world: World) -> None:
    world.run(
        world.ready(0),
        world.ready(1, 2),
        world.later(workers.STEADY),
        world.dies(1, -11),
        world.alive(4),
        raised(TERM),
        world.all_die,
    )
    assert world.lines == ["error: worker 101 ended with signal 11; the next one starts now"]
    assert world.processes[3].worker is world.processes[1].worker
    assert world.states == ["ready", "stopping"]


def test_crashing_workers_are_replaced_with_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 1)
    pauses = [0.5, 1, 2, 4, 8, 10, 10]
    steps: list[Callable[[], object]] = [world.ready(0)]
    for number, pause in enumerate(pauses):
        steps += [
            world.dies(number, 1),
            world.later(pause - 0.25),
            world.alive(number + 1),
            world.later(0.25),
        ]
    last = len(pauses)
    steps += [world.later(workers.STEADY), world.dies(last, 1), world.alive(last + 2)]
    world.run(*steps, raised(INT), world.all_die)
    assert [line.rpartition("starts ")[2] for line in world.lines] == [
        *(f"in {pause:g} s" for pause in pauses),
        "now",
    ]
    assert world.patience[2:4] == [0.5, 0.25]


def test_a_fork_that_fails_is_tried_again(world: World) -> None:
    world.refuse = 1
    world.run(world.later(0.5), world.ready(0), raised(TERM), world.all_die)
    assert world.lines == [
        "error: a worker could not be started: Resource temporarily unavailable; the next one starts in 0.5 s"
    ]


def test_a_later_start_that_fails_does_not_end_the_others(world: World) -> None:
    world.run(world.ready(0), world.dies(1, 2), world.later(0.5), world.alive(4), raised(TERM), world.all_die)
    assert world.lines == ["error: worker 101 ended with exit code 2; the next one starts in 0.5 s"]


def test_reload_is_notified_when_all_workers_have_done_it(world: World) -> None:
    new = Config(server=Server(workers=5))
    world.run(
        world.ready(0),
        world.ready(1, 2),
        lambda: setattr(world, "config", new),
        raised(HUP),
        world.handle_orders([HUP], [HUP], [HUP]),
        world.ready(0, 1),
        lambda: world.states == ["ready", "reloading"] or pytest.fail("notified too early"),
        world.ready(2),
        lambda: setattr(world, "config", None),
        raised(HUP),
        world.dies(2, 1),
        world.ready(0, 1),
        world.later(0.5),
        world.ready(3),
        raised(TERM),
        world.all_die,
    )
    assert world.states == ["ready", "reloading", "ready", "reloading", "ready", "stopping"]
    assert [each.config for each in world.processes] == [CONFIGURED] * 3 + [new]


def test_a_certificate_that_no_worker_can_use_is_not_kept_for_later_ones(
    world: World, tmp_path: Path
) -> None:
    """The workers that run refuse the reload, too."""
    nowhere = Tls(certificate=tmp_path / "none.pem", private_key=tmp_path / "none.key")
    world.run(
        world.ready(0),
        world.ready(1, 2),
        lambda: setattr(world, "config", Config(server=Server(workers=3, tls=nowhere))),
        raised(HUP),
        world.ready(0, 1, 2),
        world.dies(2, 1),
        world.later(0.5),
        raised(TERM),
        world.all_die,
    )
    assert world.processes[-1].config is CONFIGURED


def test_ready_is_notified_when_all_workers_serve(world: World) -> None:
    """One that served and died does not count."""
    world.run(
        world.ready(0),
        world.ready(1),
        world.dies(1, 1),
        world.ready(2),
        world.later(0.5),
        lambda: world.states == [] or pytest.fail("notified too early"),
        world.ready(3),
        lambda: world.states == ["ready"] or pytest.fail("not notified"),
        raised(TERM),
        world.all_die,
    )


def test_news_of_a_worker_reach_the_others(world: World) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    for pid, (ours, _) in enumerate(pairs):
        world.supervisor._hub.join(ours, pid)
    (_, one), (_, other) = pairs
    sent = frame(BROADCAST, add_name("clear", b"all"))
    world.run(
        world.ready(0),
        lambda: one.send(sent),
        lambda: other.recv(1000).endswith(sent) or pytest.fail("not received"),
        raised(TERM),
        world.all_die,
    )
    assert one.recv(1000).endswith(add_number(2, add_number(0, add_number(0))))
    assert other.recv(1000) == b""
    for _, theirs in pairs:
        theirs.close()


def test_operator_actions_end_with_a_successful_reload(world: World) -> None:
    kept: list[int] = []

    def look() -> None:
        kept.append(len(world.supervisor._hub._broadcasts))

    ours, theirs = socket.socketpair()
    world.supervisor._hub.join(ours, 1)
    with theirs:
        world.run(
            world.ready(0),
            lambda: theirs.send(frame(BROADCAST, add_name("action", b"off"))),
            look,
            lambda: setattr(world, "config", None),
            raised(HUP),
            look,
            lambda: setattr(world, "config", CONFIGURED),
            raised(HUP),
            look,
            raised(TERM),
            world.all_die,
        )
    assert kept == [1, 1, 0]


def test_a_second_signal_is_passed_to_the_workers(world: World) -> None:
    world.run(
        world.ready(0),
        raised(INT),
        raised(TERM),
        world.handle_orders([TERM, TERM], [TERM, TERM], [TERM, TERM]),
        world.dies(0, 0),
        world.dies(1, 0),
        world.dies(2, 0),
    )
    assert world.patience[-3:] == [workers.GRACE] * 3
    assert world.states == ["stopping"]


def test_a_worker_that_does_not_end_is_killed(world: World) -> None:
    world.run(
        world.ready(0),
        raised(TERM),
        world.dies(0, 0),
        world.later(DRAIN + workers.GRACE),
        world.later(0),
    )
    assert [each.killed for each in world.processes] == [False, True, True]
    assert world.lines == [f"error: worker {pid} did not end and is killed" for pid in (101, 102)]
    assert world.patience[-1] is None


def test_a_stop_before_the_first_serves(world: World) -> None:
    assert world.run(raised(TERM), world.dies(0, 0)) == 0
    assert len(world.processes) == 1


def test_other_signals_are_ignored_by_the_supervisor(world: World) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        world.run(world.ready(0), raised(signal.SIGUSR1), raised(TERM), world.all_die)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert world.states == ["stopping"]


def test_an_order_to_a_dead_worker_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    forked = workers.WorkerProcess(1, ours)
    forked.order(TERM)
    assert not forked.receive_ready()
    ours.close()


# A worker's side.


class Exit(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Forks give what only a child sees, in this process; the exit codes are collected."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise Exit

    monkeypatch.setattr(os, "fork", lambda: 0)
    monkeypatch.setattr(os, "_exit", leave)
    return codes


@contextmanager
def as_child() -> Iterator[None]:
    """The child's signal handlers are restored."""
    with workers.catch_signals(), pytest.raises(Exit):
        yield


def test_a_worker_closes_inherited_descriptors(monkeypatch: pytest.MonkeyPatch, child: list[int]) -> None:
    shared, mine, others = socket.socket(), socket.socket(), socket.socket()
    places = [
        Worker([shared, mine], first=False),
        Worker([shared, others], first=True),
        Worker([], first=False),
    ]
    ours, theirs = socket.socketpair()
    places[1].forked = workers.WorkerProcess(1, ours)
    supervisor = Supervisor(CONFIGURED, lambda: CONFIGURED, printed, places)
    seen: dict[str, Any] = {}

    def run(main: Callable[[], Any]) -> int:
        seen["open"] = [sock.fileno() >= 0 for sock in (shared, mine, others, ours)]
        seen["ignored"] = {signal.getsignal(number) for number in workers.SIGNALS}
        seen["blocked"] = signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(workers.SIGNALS)
        coroutine = main()
        seen["first"] = coroutine.cr_frame.f_locals["first"]
        coroutine.close()
        return 7

    monkeypatch.setattr(process, "run", run)
    with as_child():
        supervisor._fork(places[0])
    assert child == [7]
    assert seen == {
        "open": [True, True, False, False],
        "ignored": {signal.SIG_IGN},
        "blocked": set(),
        "first": False,
    }
    for sock in (shared, mine, theirs):
        sock.close()


def test_a_failing_worker_logs_the_place(
    monkeypatch: pytest.MonkeyPatch, child: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor(CONFIGURED, lambda: CONFIGURED, printed, [])

    def run(main: object) -> int:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr(process, "run", run)
    with as_child():
        supervisor._fork(Worker([], first=True))
    assert child == [workers.CRASHED]
    out = capsys.readouterr().out
    assert " error: a worker failed: ZeroDivisionError at test_workers.py:" in out
    assert "canary" not in out


def test_a_fork_that_is_refused_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    supervisor = Supervisor(CONFIGURED, lambda: CONFIGURED, printed, [])
    with pytest.raises(BlockingIOError):
        supervisor._fork(Worker([], first=True))


def test_a_real_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda main: 5)
    supervisor = Supervisor(CONFIGURED, lambda: CONFIGURED, printed, [])
    forked = supervisor._fork(Worker([], first=True))
    assert not forked.receive_ready()
    assert forked.wait() == 5
    monkeypatch.setattr(process, "run", lambda main: time.sleep(60))
    forked = supervisor._fork(Worker([], first=True))
    forked.kill()
    assert forked.wait() == -signal.SIGKILL
    supervisor._hub.close()


async def test_orders_are_signals() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signals: list[int] = []
    stopped = asyncio.Event()
    end = workers.handle_orders(theirs, {HUP: partial(signals.append, HUP), TERM: stopped.set})
    ours.send(bytes([HUP, TERM]))
    await asyncio.wait_for(stopped.wait(), PATIENCE)
    end()
    ours.send(bytes([HUP]))
    await asyncio.sleep(0.01)
    assert signals == [HUP]
    ours.close()
    theirs.close()


@pytest.mark.parametrize("unread", [False, True])
async def test_a_worker_without_its_parent_stops(unread: bool) -> None:
    """Also if the parent never read the worker's state: the channel is then reset, not closed."""
    ours, theirs = socket.socketpair()
    stopped = asyncio.Event()
    end = workers.handle_orders(theirs, {TERM: stopped.set})
    if unread:
        workers.report_state(theirs, "ready")
    ours.close()
    await asyncio.wait_for(stopped.wait(), PATIENCE)
    end()
    theirs.close()


def test_reported_states_of_a_worker() -> None:
    ours, theirs = socket.socketpair()
    for state in ("ready", "reloading", "stopping"):
        workers.report_state(theirs, state)
    assert ours.recv(10) == workers.READY
    ours.close()
    workers.report_state(theirs, "ready")
    theirs.close()


# The start.


def test_a_system_without_fork(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(os, "fork")
    assert workers.serve(CONFIGURED, lambda: CONFIGURED, "info", "text") == 2
    assert capsys.readouterr().err == "gateway: this system cannot fork: server.workers must be 1\n"


@pytest.mark.parametrize("given", [False, True])
def test_sockets_of_each_worker(monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    made: list[Supervisor] = []

    def run(self: Supervisor) -> int:
        made.append(self)
        return 3

    monkeypatch.setattr(Supervisor, "run", run)
    config = Config(server=Server(port=0, workers=2))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert workers.serve(config, lambda: config, "info", "text", [sock] if given else []) == 3
        (supervisor,) = made
        places = supervisor._workers
        assert [place.first for place in places] == [True, False]
        if given:
            assert [list(place.sockets) for place in places] == [[sock], [sock]]
        else:
            assert len({place.sockets[0].getsockname() for place in places}) == 1
        for place in places:
            for each in place.sockets:
                each.close()


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        config = Config(server=Server(port=port, workers=2))
        assert workers.serve(config, lambda: config, "info", "text") == 2
    message = f"gateway: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    assert capsys.readouterr().err == message


# Whole processes.


def children(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@contextmanager
def in_flight(port: int, upstream: socket.socket) -> Iterator[None]:
    """A client waits for the response of an upstream that has its request and stays silent."""
    body = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}'
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client, ExitStack() as accepted:
        client.sendall(head.encode() + body)
        method = b""
        while method != b"POST":
            # Requests for the list of models come before it.
            connection = accepted.enter_context(upstream.accept()[0])
            method = connection.recv(4)
        yield


def test_the_port_is_served_again_after_a_death(tmp_path: Path) -> None:
    with spawned(tmp_path, "--workers", "2") as gateway:
        parent = gateway.process.pid
        eventually(lambda: len(children(parent)) == 2)
        before = children(parent)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        # In whichever queue it waits, the next worker serves it.
        assert [get(gateway.port, "/healthz") for _ in range(8)] == [200] * 8
        eventually(lambda: len(children(parent) - before) == 2)
        gateway.signal("INT")
        errors = gateway.wait()
    assert gateway.process.returncode == 0
    assert errors.count("ended with signal 9") == 2
    assert "Traceback" not in errors


def test_a_drain_waits_and_a_second_signal_does_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(PATIENCE)
        text = CONFIG.replace(":9", f":{upstream.getsockname()[1]}")
        with (
            spawned(tmp_path, "--workers", "2", text=text) as gateway,
            in_flight(gateway.port, upstream),
        ):
            # As a terminal and systemd do, to all of them: it counts once.
            eventually(lambda: len(children(gateway.process.pid)) == 2)
            for pid in children(gateway.process.pid):
                os.kill(pid, signal.SIGTERM)
            gateway.signal("TERM")
            # The worker that has the request stays, the other has nothing to wait for.
            eventually(lambda: len(children(gateway.process.pid)) == 1)
            assert gateway.process.poll() is None
            gateway.signal("TERM")
            gateway.wait()
    assert gateway.process.returncode == 0


def test_workers_stop_when_the_parent_is_killed(tmp_path: Path) -> None:
    with spawned(tmp_path, "--workers", "2") as gateway:
        eventually(lambda: len(children(gateway.process.pid)) == 2)
        pids = children(gateway.process.pid)
        gateway.signal("KILL")
        gateway.wait()
        eventually(lambda: not any(running(pid) for pid in pids))


def test_an_invalid_certificate_is_logged_once(tmp_path: Path) -> None:
    ca = trustme.CA()
    one, other = ca.issue_cert("localhost"), ca.issue_cert("localhost")
    (tmp_path / "c.pem").write_bytes(one.cert_chain_pems[0].bytes())
    (tmp_path / "k.pem").write_bytes(other.private_key_pem.bytes())
    config = tmp_path / "gateway.toml"
    config.write_text(TLS + CONFIG)
    config.chmod(0o600)
    arguments = ["serve", "--config", str(config), "--port", "0", "--workers", "3"]
    command = [sys.executable, "-m", "gateway", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1
    assert "cannot be used together" in run.stderr


def test_workers_serve_tls_and_have_their_own_ids(tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    (tmp_path / "c.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (tmp_path / "k.pem").write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context()
    ca.configure_trust(context)
    ids = set()
    with spawned(tmp_path, "--workers", "3", text=TLS + CONFIG) as gateway:
        for _ in range(16):
            with (
                socket.create_connection(("127.0.0.1", gateway.port)) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as client,
            ):
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                ids.add(client.recv(4096).partition(b"request-id: ")[2][:28])
    assert len(ids) == 16
