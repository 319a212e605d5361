# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

"""What every adapter in Python needs: the handshake with the engine, TLS, errors, deadlines, log lines, saved state.

Nothing in it is about a vendor. The protocol is described in docs/adapter-protocol.md of Rounds.
"""

import asyncio
import base64
import ctypes
import datetime
import json
import os
import re
import signal
import sys

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import adapter_pb2 as pb  # of adapter.proto and status.proto, by protoc
import status_pb2

MAX_MESSAGE = 256 << 20


class AdapterError(Exception):
    """An error with a meaning for the engine. Its text may be logged: method, path template and status, never a value."""

    def __init__(self, code, text, after_ms=0, path=""):
        super().__init__(text)
        self.wire = pb.Error(code=code, text=text, path=path)  # path: of the attribute to blame
        if after_ms:
            self.wire.after.FromMilliseconds(after_ms)


def to_error(error):
    """The wire form of an error. The text of one that is no AdapterError is withheld: it may quote what could not be read."""
    if isinstance(error, AdapterError):
        return error.wire
    return pb.Error(code="retryable", text=f"{type(error).__name__} (text withheld, it may quote data)")


def log(level, message, **attributes):
    """Writes a line into the engine's log. No content of records, no ids, no secrets."""
    levels = ["DEBUG", "INFO", "WARN", "ERROR"]
    if levels.index(level) >= levels.index(os.environ.get("ROUNDS_LOG_LEVEL", "INFO")):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        line = {"@timestamp": now, "@level": level, "@message": message, "attributes": attributes}
        print(json.dumps(line), file=sys.stderr, flush=True)


def _strings(values):
    return all(isinstance(value, str) for value in values)


_TYPES = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "duration": lambda value: isinstance(value, str) and re.fullmatch(r"-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+", value),  # 1m30s
    "list(string)": lambda value: isinstance(value, list) and _strings(value),
    "map(string)": lambda value: isinstance(value, dict) and _strings(value.values()),
    "any": lambda value: True,
}


def _parse_config(text, schema):
    """Reads a configuration and blames the attribute that the schema does not allow. Null is the same as not given."""

    def blame(path, text):
        raise AdapterError("misconfigured", text, path=path)

    try:
        given = json.loads(text)
    except ValueError:
        blame("", "is not valid JSON")
    if not isinstance(given, dict):
        blame("", "must be an object")
    config = {name: value for name, value in given.items() if value is not None}
    known = {attribute.name: attribute for attribute in schema.attributes}
    for name, value in config.items():
        if name not in known:
            blame(name, "is not known here")
        if not _TYPES[known[name].type](value):
            blame(name, f"must be a {known[name].type}")
        if known[name].values and value not in known[name].values:
            blame(name, "must be one of " + ", ".join(known[name].values))
    for name, attribute in known.items():
        if attribute.required and name not in config:
            blame(name, "is required")
    return config


class Adapter:
    """What an author derives from. `open` gives a source, with the methods that are used below, in the terms of adapter.proto."""

    info: pb.Info
    schema: pb.Schema

    def validate(self, config):
        """Checks a configuration, offline: an AdapterError "misconfigured" names the attribute."""

    async def open(self, config, env):
        raise NotImplementedError


class Env:
    """What a source gets: its name, what it saved last (None: nothing), and the means to save."""

    def __init__(self, name, state, save_state):
        self.name, self.state, self.save_state = name, state, save_state


class _Open:
    """A source between the begin of Open and the begin of Close."""

    def __init__(self):
        self.source, self.calls = None, set()


class _Server:
    def __init__(self, adapter):
        self.adapter = adapter
        self.sources = {}  # by handle
        self.saves, self.saving = None, {}  # the stream on which state is saved; its requests by number
        self.writing = asyncio.Lock()  # held for each request: gRPC takes one at a time

    def config(self, request):
        config = _parse_config(request.config, self.adapter.schema)
        self.adapter.validate(config)
        return config

    async def Describe(self, request):
        return pb.DescribeResponse(info=self.adapter.info, schema=self.adapter.schema)

    async def Validate(self, request):
        self.config(request)
        return pb.ValidateResponse()

    async def Open(self, request):
        config = self.config(request)
        if request.handle in self.sources:
            raise AdapterError("permanent", "Open: the handle is in use")
        opening = self.sources[request.handle] = _Open()
        state = request.state if request.HasField("state") else None
        with _Call(opening):
            try:
                opening.source = await self.adapter.open(config, Env(request.source, state, lambda s: self.save(request.handle, s)))
            finally:
                if opening.source is None:
                    self.sources.pop(request.handle, None)
        return opening.source.catalog

    def use(self, request):
        entry = self.sources.get(request.handle)
        if entry is None or entry.source is None:
            raise AdapterError("retryable", "the source is not open in the adapter")
        return entry

    async def Poll(self, request):
        with _Call(self.use(request)) as source:
            return await source.poll(request)

    async def Fetch(self, request):
        with _Call(self.use(request)) as source:
            return pb.FetchResponse(results=await source.fetch(request.refs))

    async def Ack(self, request):
        with _Call(self.use(request)) as source:
            await source.ack(request.feed, request.token)
        return pb.AckResponse()

    async def Close(self, request):
        closing = self.sources.pop(request.handle, None)
        if closing and closing.calls:
            await asyncio.wait(closing.calls)
        if closing and closing.source:
            await closing.source.close()
        return pb.CloseResponse()

    async def Saves(self, _, stream):
        self.saves = stream
        while (reply := await stream.read()) != grpc.aio.EOF:
            waiting = self.saving.pop(reply.id, None)
            if waiting and not waiting.done():  # it is done when its call was cancelled
                waiting.set_result(reply.error if reply.HasField("error") else None)

    async def save(self, handle, state):
        number = max(self.saving, default=0) + 1
        self.saving[number] = saved = asyncio.get_running_loop().create_future()
        await asyncio.shield(self.write(pb.SaveRequest(id=number, handle=handle, state=state)))  # to its end, or no other could begin
        if error := await saved:
            raise AdapterError(error.code, error.text)

    async def write(self, request):
        async with self.writing:
            await self.saves.write(request)


class _Call:
    """A call that a Close waits for."""

    def __init__(self, entry):
        self.entry, self.task = entry, asyncio.current_task()

    def __enter__(self):
        self.entry.calls.add(self.task)
        return self.entry.source

    def __exit__(self, *_):
        self.entry.calls.discard(self.task)


def _unary(method):
    """A call ends a moment before its deadline, so that its error still arrives; when the engine cancels it, gRPC cancels the task."""

    async def call(request, context):
        left = context.time_remaining()
        try:
            async with asyncio.timeout(left and left - min(left / 10, 0.5)):
                return await method(request)
        except TimeoutError:
            failure = pb.Error(code="retryable", text="deadline exceeded")
        except Exception as error:
            failure = to_error(error)
        # A failed call is a status whose details hold the error.
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=failure.code)
        status.details.add().Pack(failure)
        details = ("grpc-status-details-bin", status.SerializeToString())
        await context.abort(grpc.StatusCode.UNKNOWN, failure.code, (details,))

    return call


def _certificate():
    """A key and a certificate for localhost, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.utcnow()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


async def _serve(adapter, parent):
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
    )
    methods, own = {}, _Server(adapter)
    for method in pb.DESCRIPTOR.services_by_name["Adapter"].methods:
        kind, behaviour = grpc.unary_unary_rpc_method_handler, _unary(getattr(own, method.name))
        if method.name == "Saves":
            kind, behaviour = grpc.stream_stream_rpc_method_handler, own.Saves
        request, answer = getattr(pb, method.input_type.name), getattr(pb, method.output_type.name)
        methods[method.name] = kind(behaviour, request.FromString, answer.SerializeToString)

    async def shutdown(request, context):
        os._exit(0)

    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("rounds.adapter.v1.Adapter", methods),
        # The one service of go-plugin that makes a difference: without it the engine waits two seconds at the end.
        grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": grpc.unary_unary_rpc_method_handler(shutdown)}),
    ))
    key, certificate = _certificate()
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    mutual = grpc.ssl_server_credentials(
        [(private, certificate.public_bytes(pem))], os.environ["PLUGIN_CLIENT_CERT"].encode(), require_client_auth=True
    )
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "adapter.sock")
    server.add_secure_port(f"unix:{socket}", mutual)
    await server.start()
    told = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode().rstrip("=")
    print(f"1|1|unix|{socket}|grpc|{told}", flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    os._exit(1)  # the engine was killed


def serve(adapter):
    """Makes the program an adapter, until the engine ends it."""
    parent = os.getppid()
    if os.environ.get("ROUNDS_ADAPTER") != "adapter-v1":
        name = adapter.info.name
        sys.exit(f'{name} is an adapter of Rounds: name it in a configuration, adapter "{name}" {{ path = "…" }}')
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the engine still has calls to finish, and ends its adapters itself
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE: other programs of the user can't read its memory, which will hold secrets
    asyncio.run(_serve(adapter, parent))
