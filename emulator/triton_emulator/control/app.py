"""The routes of the control API: a test's methods of `Emulator` and `Session`, over HTTP.

What may block, such as the loading of a session's models or a wait for requests, runs in a thread.
"""

import asyncio
import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from time import monotonic
from typing import Annotated, Any, TypeVar

from fastapi import Body, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException

from triton_emulator.backends.standins.settings import latency_of
from triton_emulator.control import rendering, shapes
from triton_emulator.control.page import HEADERS, console_files
from triton_emulator.control.sending import path_of, send
from triton_emulator.control.shapes import ROOT
from triton_emulator.harness.cassettes.reading import CassetteError
from triton_emulator.harness.criteria import Criteria
from triton_emulator.harness.given import FieldError, criteria_of, plan_of, stub_of
from triton_emulator.harness.harness import Harness
from triton_emulator.harness.near_miss import Expected, failure
from triton_emulator.harness.replies import expected_inputs
from triton_emulator.harness.requests import Requests
from triton_emulator.harness.verdict import judge
from triton_emulator.options import check_session_options, check_together
from triton_emulator.protocol.errors import TritonError
from triton_emulator.server import Server, StartupError, described, host_and_port
from triton_emulator.session.state import SessionState
from triton_emulator.yaml_nodes import SettingsError

#: sessions that may be open; each has models of its own
MOST_SESSIONS = 100
#: requests that may wait for others at the same time
MOST_WAITS = 100
#: how often, in seconds, a request that waits for others looks whether its client and its session are still there
_LOOK_S = 0.5
T = TypeVar("T")

SessionId = Annotated[str, Path(description=f"The id of a session; `{ROOT}` is the emulator without one.")]
Number = Annotated[int, Path(ge=1, le=2**53)]
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": shapes.Error}}
_REFUSED: dict[int | str, dict[str, Any]] = {422: {"model": shapes.Error}}


class Refused(Exception):
    """A request that is refused."""

    def __init__(self, status: int, text: str, field: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.field = field


def control_app(server: Server, *, token: bool = False) -> FastAPI:
    """The control API of a server. `token` is whether requests have to have one (`listener` looks at it)."""
    secured = [Depends(HTTPBearer(auto_error=False))] if token else []
    app = FastAPI(
        title="triton-emulator control",
        version=version("triton-emulator"),
        description="Sessions, plans of faults, stubs and the journal of a triton-emulator.",
        docs_url=None,  # it would ask another host for its scripts
        redoc_url=None,
        redirect_slashes=False,
        dependencies=secured,
        responses={401: {"model": shapes.Error}, **_REFUSED} if token else _REFUSED,
        generate_unique_id_function=_operation_id,
    )
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(StarletteHTTPException, _plain)
    routes = _Routes(server)
    routes.add_to(app)
    for path, (content, kind) in console_files().items():
        app.add_route(path, partial(_file, content, kind), ["GET"], include_in_schema=False)
    return app


def _file(content: bytes, kind: str, request: Request) -> Response:
    return Response(content, headers={**HEADERS, "Content-Type": kind})


def _operation_id(route: APIRoute) -> str:
    return route.name


async def _refused(request: Request, fault: Exception) -> Response:
    status, field = getattr(fault, "status", 500), getattr(fault, "field", None)
    return JSONResponse({"error": rendering.clean(str(fault)), "field": field}, status)


async def _malformed(request: Request, fault: Exception) -> Response:
    """A body or a parameter of another form than the document says."""
    if not isinstance(fault, RequestValidationError):
        raise fault
    first: Any = fault.errors()[0]
    if first["type"] == "json_invalid":
        return JSONResponse({"error": f"the body is no JSON: {first['ctx']['error']}", "field": None}, 422)
    place = ".".join(_place(first["loc"], fault.body))
    text = str(first["msg"])
    if first["type"] == "model_attributes_type":
        text = "it has to be a JSON object"
        if isinstance(fault.body, bytes):  # it is read as JSON by its header alone
            text = "the body has to have the header Content-Type: application/json"
    error = f"{place}: {text}" if place else text
    return JSONResponse({"error": rendering.clean(error), "field": place or None}, 422)


def _place(parts: Sequence[str | int], body: object) -> Iterator[str]:
    """The names of fields among the parts of a place; other parts are the types of a union, of which none fits."""
    for number, part in enumerate(parts[1:]):
        found = body
        with suppress(LookupError, TypeError):
            found = body[part]  # type: ignore[index]
        if number == 0 or found is not body:
            yield str(part)
        body = found


async def _plain(request: Request, fault: Exception) -> Response:
    """A path or a method that there is not."""
    if not isinstance(fault, StarletteHTTPException):
        raise fault
    # a 400 is a body that is no UTF-8, which is as bad as one that is no JSON
    status = 422 if fault.status_code == 400 else fault.status_code
    return JSONResponse({"error": fault.detail, "field": None}, status, fault.headers)


class _Routes:
    """The functions that answer, over one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._opening = 0
        self._waits = 0

    def add_to(self, app: FastAPI) -> None:
        """Add each route, with its answer's shape and the statuses of its refusals."""
        one = "/sessions/{session}"
        get, post, delete = app.get, app.post, app.delete
        get("/sessions", response_model=list[shapes.Session])(self.list_sessions)
        post(
            "/sessions",
            status_code=201,
            response_model=shapes.Session,
            responses={409: {"model": shapes.Error}},
        )(self.open_session)
        get(one, response_model=shapes.Session, responses=_NOT_FOUND)(self.get_session)
        delete(one, status_code=204, responses=_NOT_FOUND)(self.close_session)
        post(f"{one}/reset", status_code=204, responses=_NOT_FOUND)(self.reset_session)
        get(f"{one}/plans", response_model=list[shapes.Plan], responses=_NOT_FOUND)(self.list_plans)
        post(f"{one}/plans", status_code=201, response_model=shapes.Plan, responses=_NOT_FOUND)(self.add_plan)
        get(f"{one}/plans/{{number}}", response_model=shapes.Plan, responses=_NOT_FOUND)(self.get_plan)
        delete(f"{one}/plans/{{number}}", status_code=204, responses=_NOT_FOUND)(self.remove_plan)
        get(f"{one}/stubs", response_model=list[shapes.Stub], responses=_NOT_FOUND)(self.list_stubs)
        post(f"{one}/stubs", status_code=201, response_model=shapes.Stub, responses=_NOT_FOUND)(self.add_stub)
        get(f"{one}/stubs/{{number}}", response_model=shapes.Stub, responses=_NOT_FOUND)(self.get_stub)
        delete(f"{one}/stubs/{{number}}", status_code=204, responses=_NOT_FOUND)(self.remove_stub)
        get(
            f"{one}/requests",
            response_model=shapes.Requests,
            response_model_exclude_unset=True,
            responses={**_NOT_FOUND, 409: {"model": shapes.Error}, 408: {"model": shapes.Error}},
        )(self.list_requests)
        post(f"{one}/requests/verify", response_model=shapes.Verification, responses=_NOT_FOUND)(
            self.verify_requests
        )
        get(
            f"{one}/requests/{{number}}",
            response_model=shapes.Entry,
            response_model_exclude_unset=True,
            responses=_NOT_FOUND,
        )(self.get_request)
        get(
            f"{one}/models",
            response_model=list[shapes.Model],
            responses={**_NOT_FOUND, 409: {"model": shapes.Error}},
        )(self.list_models)
        get(
            f"{one}/latencies",
            response_model=list[shapes.ModelLatencies],
            responses={**_NOT_FOUND, 409: {"model": shapes.Error}},
        )(self.list_latencies)
        post(
            f"{one}/latencies",
            response_model=list[shapes.ModelLatencies],
            responses={**_NOT_FOUND, 409: {"model": shapes.Error}},
        )(self.set_latencies)
        post(
            f"{one}/send",
            response_model=shapes.Sent,
            responses={**_NOT_FOUND, 409: {"model": shapes.Error}},
        )(self.send_request)
        get(f"{one}/problems", response_model=shapes.Problems, responses=_NOT_FOUND)(self.list_problems)
        post(f"{one}/allow", status_code=204, responses=_NOT_FOUND)(self.allow_problems)
        get(f"{one}/verdict", response_model=shapes.Verdict, responses=_NOT_FOUND)(self.get_verdict)
        get(f"{one}/clock", response_model=shapes.ClockTime, responses=_NOT_FOUND)(self.get_clock)
        post(
            f"{one}/clock/advance",
            response_model=shapes.ClockTime,
            responses={**_NOT_FOUND, 409: {"model": shapes.Error}},
        )(self.advance_clock)

    # --- sessions ---

    def _state_or_none(self, session: str) -> SessionState | None:
        return self._server.root if session == ROOT else self._server.sessions.get(session)

    def _state(self, session: str) -> SessionState:
        state = self._state_or_none(session)
        if state is None:
            raise Refused(404, f"there is no session {session!r}; it may be closed")
        return state

    def _harness(self, session: str) -> Harness:
        harness = self._state(session).harness
        if harness is None:
            raise Refused(
                404, "the journal is off (journal_requests=0), and with it plans, stubs and requests"
            )
        return harness

    def _shown(self, session: str) -> dict[str, Any]:
        state, server = self._state(session), self._server
        path = "" if session == ROOT else f"/s/{session}"
        http, grpc, metrics = server.http_address, server.grpc_address, server.metrics_address
        harness = state.harness
        return {
            "id": session,
            "http_url": http and f"http://{host_and_port(http)}{path}",
            "grpc_url": grpc and host_and_port(grpc),
            "grpc_headers": {} if session == ROOT else {"triton-session": session},
            "metrics_url": metrics and f"http://{host_and_port(metrics)}{path}/metrics",
            "models": len({served.name for served in state.repository.all_served()}),
            "requests": 0 if harness is None else len(harness.journal.entries),
            "plans": 0 if harness is None else len(list(harness.plans)),
            "stubs": 0 if harness is None else len(list(harness.stubs)),
        }

    async def list_sessions(self) -> Any:
        """List the sessions, the emulator itself first."""
        return [self._shown(session) for session in (ROOT, *self._server.sessions)]

    async def open_session(self, body: Annotated[shapes.NewSession | None, Body()] = None) -> Any:
        """Open a session with models, statistics, plans, stubs and a journal of its own."""
        given = (
            {} if body is None else {name: value for name, value in body.given().items() if value is not None}
        )
        for name in ("load_models", "faults"):
            if name in given:
                given[name] = tuple(given[name])
        settings = self._server.settings
        try:
            check_session_options(given)
            settings = replace(settings, **given)
            check_together(settings, given)
        except (TypeError, ValueError) as fault:
            raise Refused(422, str(fault)) from None
        if len(self._server.sessions) + self._opening >= MOST_SESSIONS:
            raise Refused(409, f"{MOST_SESSIONS} sessions are open; close some")
        self._opening += 1
        try:
            session = await self._server.open_session(settings)
        except StartupError as fault:
            raise Refused(422, str(fault)) from None  # with its models
        except (CassetteError, OSError, SettingsError, TritonError) as fault:
            raise Refused(422, described(fault)) from None
        finally:
            self._opening -= 1
        return self._shown(session)

    async def get_session(self, session: SessionId) -> Any:
        """Say where a session is reached, and what it has."""
        return self._shown(session)

    async def close_session(self, session: SessionId) -> None:
        """End a session's requests and unload its models."""
        if session == ROOT:
            raise Refused(422, "the emulator itself is no session that can be closed")
        self._state(session)
        await self._server.close_session(session)

    async def reset_session(self, session: SessionId) -> None:
        """Forget requests, plans, stubs and problems; those of files and flags are made anew."""
        self._harness(session)
        try:
            await asyncio.to_thread(self._state(session).reset_harness)
        except (SettingsError, ValueError) as fault:
            raise Refused(422, str(fault)) from None

    # --- plans ---

    async def list_plans(self, session: SessionId) -> Any:
        """List the plans, in the order in which they are tried."""
        return [rendering.plan(each) for each in self._harness(session).plans]

    async def add_plan(self, session: SessionId, body: shapes.NewPlan) -> Any:
        """Let a fault happen to the requests that fit."""
        harness = self._harness(session)
        given = _meant(partial(plan_of, body.given()))
        return rendering.plan(
            _meant(lambda: given.arm(harness.plans, harness.journal.secrets, standing=False))
        )

    async def get_plan(self, session: SessionId, number: Number) -> Any:
        """Say what has become of a plan."""
        return rendering.plan(_numbered(self._harness(session).plans, number, "plan"))

    async def remove_plan(self, session: SessionId, number: Number) -> None:
        """Let no further request meet a plan."""
        _numbered(self._harness(session).plans, number, "plan").remove()

    # --- stubs ---

    async def list_stubs(self, session: SessionId) -> Any:
        """List the stubs, in the order in which they are tried."""
        return [rendering.stub(each) for each in self._harness(session).stubs]

    async def add_stub(self, session: SessionId, body: shapes.NewStub) -> Any:
        """Answer the requests that fit in place of a model."""
        harness = self._harness(session)
        given = _meant(partial(stub_of, _without_nulls(body.given())))
        arm = partial(given.arm, harness.stubs, harness.journal.secrets, standing=False)
        return rendering.stub(await asyncio.to_thread(_meant, arm))

    async def get_stub(self, session: SessionId, number: Number) -> Any:
        """Say what has become of a stub."""
        return rendering.stub(_numbered(self._harness(session).stubs, number, "stub"))

    async def remove_stub(self, session: SessionId, number: Number) -> None:
        """Answer no further request by a stub."""
        stub = _numbered(self._harness(session).stubs, number, "stub")
        await asyncio.to_thread(stub.remove)

    # --- the journal ---

    async def list_requests(
        self, session: SessionId, wanted: Annotated[shapes.Wanted, Query()], request: Request
    ) -> Any:
        """List requests with their answers, in the order in which they came."""
        journal = self._harness(session).journal
        given = {name: getattr(wanted, name) for name in ("operation", "model", "version", "protocol")}
        criteria = _meant(
            lambda: Criteria.of(
                **given,
                headers=dict(map(_header, wanted.header)),
                where=lambda entry: entry.number > wanted.after,
                secrets=journal.secrets,
            )
        )
        requests = Requests(journal, (criteria,))

        if wanted.count:
            state, left = self._state(session), threading.Event()

            def is_over() -> bool:
                return left.is_set() or self._state_or_none(session) is not state

            client = asyncio.create_task(_tell_end(request, left))
            try:
                await self._waited(partial(_wait_for, requests, wanted.count, wanted.timeout, is_over))
            except TimeoutError:
                self._state(session)  # it may be closed meanwhile
                came = f"{requests.count} of {wanted.count} requests came within {wanted.timeout} s"
                raise Refused(408, came) from None
            finally:
                client.cancel()

        def read() -> dict[str, Any]:
            entries = list(requests)
            shown = entries[-wanted.limit :]
            rendered = [rendering.entry(each, form=wanted.tensors, bodies=wanted.bodies) for each in shown]
            return {"count": len(entries), "dropped": journal.dropped, "requests": rendered}

        return await asyncio.to_thread(read)

    async def _waited(self, wait: Callable[[], T]) -> T:
        """Wait in a thread of its own, which ends nothing but itself: the server's end does not wait for it."""
        if self._waits >= MOST_WAITS:
            raise Refused(409, f"{MOST_WAITS} requests wait already")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def end(tell: Callable[[Any], None], outcome: Any) -> None:
            self._waits -= 1
            if not done.done():
                tell(outcome)

        def work() -> None:
            tell: Callable[[Any], None] = done.set_result
            try:
                outcome: Any = wait()
            except Exception as raised:  # noqa: BLE001  (raised again where it is awaited)
                tell, outcome = done.set_exception, raised
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end, tell, outcome)

        self._waits += 1
        threading.Thread(target=work, name="control-wait", daemon=True).start()
        return await done

    async def get_request(
        self,
        session: SessionId,
        number: Number,
        tensors: Annotated[shapes.TensorForm, Query()] = "data",
        bodies: Annotated[bool, Query(description="with the bytes of request and answer")] = False,
    ) -> Any:
        """Show one request with its answer."""
        entry = _numbered(self._harness(session).journal.entries, number, "request")
        return await asyncio.to_thread(rendering.entry, entry, form=tensors, bodies=bodies)

    async def verify_requests(self, session: SessionId, body: shapes.Expectation) -> Any:
        """Say whether such a request has come: at least once, or exactly `times`; with the nearest where it has not."""
        journal = self._harness(session).journal
        given = _without_nulls(body.given())
        criteria = _meant(lambda: Criteria.of(**criteria_of(given), secrets=journal.secrets))
        inputs = _meant(lambda: expected_inputs(given.get("inputs", {})), "inputs")
        expected = Expected(criteria, inputs, given.get("parameters", {}), given.get("times"))
        text = await asyncio.to_thread(failure, expected, journal.entries)
        return {"met": not text, "text": rendering.clean(text)}

    # --- models, and requests to them ---

    async def list_models(self, session: SessionId) -> Any:
        """List the models that the repositories have, with the inputs and outputs of those that answer requests."""
        repository = self._with_models(session).repository

        def read() -> list[Any]:
            served = {(each.name, each.version): each for each in repository.all_served()}
            return [
                rendering.model(row, served.get((row.name, row.version or 0))) for row in repository.index()
            ]

        try:
            return await asyncio.to_thread(read)
        except TritonError as fault:  # a repository that has gone
            raise Refused(409, fault.message) from None

    def _with_models(self, session: str) -> SessionState:
        state = self._state(session)
        if state.passes:
            raise Refused(
                409,
                "the models are those of the upstream or the recording: ask the session's HTTP port",
            )
        return state

    async def list_latencies(self, session: SessionId) -> Any:
        """Say what the requests of each model take for which a stand-in answers."""
        return [rendering.latencies(*each) for each in self._with_models(session).stand_ins()]

    async def set_latencies(self, session: SessionId, body: shapes.NewLatency) -> Any:
        """Let the requests of a model take another time from now on, until it is loaded again or the session reset."""
        given = body.given()
        model, version = given.pop("model"), given.pop("version", None)
        found = [
            (loaded, stand_in)
            for loaded, stand_in in self._with_models(session).stand_ins()
            if loaded.name == model and version in (None, loaded.version)
        ]
        if not found:
            which = f"{model!r}" if version is None else f"{model!r} version {version}"
            raise Refused(
                422,
                f"no stand-in answers for the model {which}: a model.py takes its own time; a plan with delay(...) "
                "lets its requests wait",
                "model",
            )
        names = list(found[0][1].latencies())
        for name in given:
            if name not in names:
                raise Refused(422, f"the model {model!r} has {' and '.join(names)}, not {name}", name)
        if not given:
            raise Refused(422, f"give {' or '.join(names)}")
        taken = {name: _meant(partial(latency_of, value), name) for name, value in given.items()}
        for _, stand_in in found:
            for name, latency in taken.items():
                stand_in.set_latency(name, latency)
        return [rendering.latencies(*each) for each in found]

    async def send_request(self, session: SessionId, body: shapes.NewRequest) -> Any:
        """Send a request to the session's own HTTP port, as any client could, and show what came.

        A page in a browser cannot do so by itself: Triton answers no page of another origin.
        """
        self._state(session)
        address = self._server.http_address
        if address is None:
            raise Refused(409, "the emulator serves no HTTP (allow_http)")
        prefix = "" if session == ROOT else f"/s/{session}"
        path = prefix + path_of(body.model, body.version, body.operation)
        text = _meant(body.body.encode, "body")
        binary = _meant(partial(b64decode, body.binary, validate=True), "binary")
        return rendering.sent(await self._waited(partial(send, address, path, text, binary, body.timeout)))

    # --- problems, and time ---

    async def list_problems(self, session: SessionId) -> Any:
        """List what a test should be failed for when it ends: plans that did not fire, stubs that were not used, ..."""
        return {"problems": [rendering.clean(text) for text in self._harness(session).problems()]}

    async def allow_problems(self, session: SessionId, body: shapes.Allowed) -> None:
        """Report problems of these kinds no more."""
        harness = self._harness(session)
        _meant(lambda: harness.allow(*body.problems), "problems")

    async def get_verdict(
        self, session: SessionId, ignore: Annotated[list[str] | None, Query(description="rules")] = None
    ) -> Any:
        """Say what the client did wrong, as far as the requests that have come show it."""
        entries, clock = self._harness(session).journal.entries, self._state(session).clock
        verdict = await asyncio.to_thread(
            _meant, partial(judge, entries, clock.real_seconds, ignore or ()), "ignore"
        )
        return rendering.clean(json.loads(verdict.json()))

    async def get_clock(self, session: SessionId) -> Any:
        """Say what time it is in a session."""
        clock = self._state(session).clock
        return {"setting": clock.setting, "seconds": clock.seconds}

    async def advance_clock(self, session: SessionId, body: shapes.Advance) -> Any:
        """Move a virtual clock, and let what has waited until then go on."""
        clock = self._state(session).clock
        try:
            await asyncio.to_thread(clock.advance, body.seconds)
        except RuntimeError as fault:  # real time does not move so
            raise Refused(409, str(fault)) from None
        return {"setting": clock.setting, "seconds": clock.seconds}


async def _tell_end(request: Request, left: threading.Event) -> None:
    """Set an event when the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    left.set()


def _wait_for(requests: Requests, count: int, timeout: float, is_over: Callable[[], bool]) -> None:
    """Wait for requests in a thread, as long as somebody wants to know. Raises TimeoutError."""
    end = monotonic() + timeout
    while True:
        left = max(end - monotonic(), 0)
        try:
            requests.wait_for(count, min(left, _LOOK_S))
        except TimeoutError:
            if is_over() or left <= _LOOK_S:
                raise
        else:
            return


def _meant(read: Callable[[], T], field: str | None = None) -> T:
    """What a body means. Raises Refused, with its field, where it means nothing."""
    try:
        return read()
    except FieldError as fault:
        raise Refused(422, str(fault), fault.field) from None
    except (TypeError, ValueError) as fault:
        raise Refused(422, str(fault), field) from None


def _numbered(several: Any, number: int, what: str) -> Any:
    for each in several:
        if each.number == number:
            return each
    raise Refused(404, f"there is no {what} {number}")


def _header(given: str) -> tuple[str, str | None]:
    name, colon, value = given.partition(":")
    return name.strip(), value.strip() if colon else None


def _without_nulls(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not null, which is as if they were left out."""
    return {name: value for name, value in given.items() if value is not None}
