#!/usr/bin/python3
# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

"""An adapter for an API with GET /appointments?updatedAt_gte=2022-05-10T10:00:00.000Z, in pages and ordered by updatedAt, and
GET /patients/{id}: json-server, say.
"""

import asyncio
import datetime
import email.utils
import json
import time
from urllib.parse import quote, urlencode

import aiohttp
import simplejson  # json would change numbers with many digits
import yarl

from rounds import Adapter, AdapterError, log, pb, serve, to_error

UNIT = 1  # the precision of the server's timestamps, in ms, as all times here
MARGIN = 10 * 60_000  # how far the server's clock may be behind when a feed begins "now"
MAX_BODY = 128 << 20  # of an answer, in bytes; what becomes of it has to fit into a message to the engine
LONGEST = 7 * 86_400_000  # pause that a server can ask for
CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 408: "retryable", 410: "gone", 425: "retryable"}

FEED = pb.Feed(
    name="appointments", kind="appointment", **{"class": "timestamp"}, version="coarse", drifts=True,
    why="The list is read in pages by number, which shift when a record changes meanwhile.",
)
FEED.precision.FromMilliseconds(UNIT)
PATIENT = pb.Resource(name="patient", why="One call for each.")


class SmallAPI(Adapter):
    info = pb.Info(name="python", version="0.1.0", doc="A small JSON API, by an adapter in Python.", feeds=[FEED], resources=[PATIENT])
    schema = pb.Schema(doc="A small JSON API.", attributes=[
        pb.Attribute(name="base_url", type="string", required=True, doc="Where the API is."),
        pb.Attribute(name="token", type="string", sensitive=True, doc="Bearer token."),
        pb.Attribute(name="page_size", type="integer", default="100", doc="Appointments on a page."),
    ])

    def validate(self, config):
        if not config["base_url"].startswith(("http://", "https://")):
            raise AdapterError("misconfigured", "must begin with http:// or https://", path="base_url")
        if not 1 <= config.get("page_size", 100) <= 1000:
            raise AdapterError("misconfigured", "must be from 1 to 1000", path="page_size")

    async def open(self, config, env):
        return Source(config, env)


class Source:
    catalog = pb.OpenResponse(feeds=[FEED], resources=[PATIENT])

    def __init__(self, config, env):
        self.base, self.size, self.name = config["base_url"].rstrip("/"), config.get("page_size", 100), env.name
        headers = {"Accept": "application/json"}
        if config.get("token"):
            headers["Authorization"] = f"Bearer {config['token']}"
        self.http = aiohttp.ClientSession(headers=headers, trust_env=True, timeout=aiohttp.ClientTimeout(total=None))

    async def close(self):
        await self.http.close()

    async def poll(self, query):
        """One page: GET /appointments."""
        if query.feed != "appointments":
            raise AdapterError("permanent", "there is no such feed")
        overlap = query.overlap.ToMilliseconds()
        mark = mark_of(query, overlap)
        size = min(self.size, query.limit or self.size)
        window = window_of(query) or {"since": since_of(mark, overlap), "page": 1, "size": size, "newest": None}
        parameters = {"_sort": "updatedAt,id", "_order": "asc,asc", "_page": window["page"], "_limit": window["size"]}
        if window["since"] is not None:
            since = datetime.datetime.fromtimestamp(window["since"] / 1000, datetime.timezone.utc)
            parameters["updatedAt_gte"] = since.strftime("%Y-%m-%dT%H:%M:%S.") + f"{since.microsecond // 1000:03}Z"
        begun = int(time.time() * 1000)
        items, date, took = await self.get("/appointments?" + urlencode(parameters), "/appointments")
        if not isinstance(items, list):
            raise AdapterError("retryable", "GET /appointments: the answer is not a list")
        if "asked" not in window:
            # What the server stored while it answered may be missing: no watermark passes the begin of the window, by the server's clock.
            window["asked"], window["local"] = begun if date is None else date - took, date is None
            window["behind"] = max(begun - window["asked"], 0)
        page = pb.PollResponse(calls=1)
        for item in items:
            change = page.changes.add(data=dump(item))
            fields = item if isinstance(item, dict) else {}
            at = instant(fields.get("updatedAt"))
            change.ref.kind, change.ref.id = "appointment", id_of(fields.get("id"))
            if not change.ref.id or at is None:
                change.error.CopyFrom(pb.Error(code="permanent", text="GET /appointments: an item without a usable id or updatedAt"))
                continue
            change.version = item["updatedAt"]
            change.time.FromMilliseconds(at)
            if at > window["asked"]:
                if window["local"]:  # this machine's clock alone moves no watermark
                    continue
                at = window["asked"]
            window["newest"] = at if window["newest"] is None else max(at, window["newest"])
        if date is not None:
            page.now.FromMilliseconds(date)
        log("DEBUG", "read a page", source=self.name, changes=len(items))
        if len(items) < window["size"]:
            page.watermark = json.dumps(after(mark, window)).encode()
        else:
            page.cursor = json.dumps(window | {"page": window["page"] + 1}).encode()
        return page

    async def fetch(self, refs):
        """One result for each ref, in order, eight calls at a time: GET /patients/{id}."""
        turn = asyncio.Semaphore(8)

        async def one(ref):
            try:
                if ref.kind != "patient":
                    raise AdapterError("permanent", "there is no such resource")
                if ref.id in ("", ".", ".."):  # another path would be called
                    raise AdapterError("permanent", "GET /patients/{id}: the identifier is empty, or a step in a path")
                async with turn:
                    body, _, _ = await self.get("/patients/" + quote(ref.id, safe=""), "/patients/{id}")
                return pb.Result(ref=ref, data=dump(body))
            except Exception as error:
                return pb.Result(ref=ref, error=to_error(error))

        return await asyncio.gather(*(one(ref) for ref in refs))

    async def get(self, path, template):
        """What the server answered, its clock when it did, and how long that took. Errors name the template, never the path."""
        begun, body = time.monotonic(), bytearray()
        try:
            url = yarl.URL(self.base + path, encoded=True)
            async with self.http.get(url, allow_redirects=False) as response:  # elsewhere the token would go
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise AdapterError("permanent", f"GET {template}: the answer is larger than {MAX_BODY} bytes")
        except aiohttp.ClientError:
            raise AdapterError("retryable", f"GET {template}: the connection failed") from None
        took = int((time.monotonic() - begun) * 1000)
        if response.status != 200:
            raise refused(response.status, response.headers, f"GET {template}: {response.status}")
        try:
            return simplejson.loads(bytes(body), use_decimal=True), http_date(response.headers.get("Date")), took
        except ValueError:
            raise AdapterError("retryable", f"GET {template}: the answer is not JSON") from None


def refused(status, headers, text):
    """What a status means."""
    pause = headers.get("Retry-After")
    if status == 429 or pause is not None:
        until = http_date(pause)
        seconds = pause is not None and pause.isascii() and pause.isdigit()
        after = int(pause) * 1000 if seconds else (until or 0) - int(time.time() * 1000)
        return AdapterError("rate_limited", text, after_ms=max(0, min(after, LONGEST)))
    return AdapterError(CODES.get(status, "retryable" if status >= 500 else "permanent"), text)


def dump(value):
    return simplejson.dumps(value, use_decimal=True, ensure_ascii=False).encode()


def http_date(text):
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp() * 1000)
    except (TypeError, ValueError):
        return None


def id_of(value):
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def instant(text):
    try:
        at = datetime.datetime.fromisoformat(text)
        return round(at.timestamp() * 1000) if at.tzinfo else None
    except (TypeError, ValueError):
        return None


# The arithmetic of "changed since", as package sdk/window of Rounds has it. t is up to where whole windows were read, by the server's
# clock; from is where the first window began, before which no later one reaches.


def mark_of(query, overlap):
    if not query.watermark:
        start = query.start.ToMilliseconds() - overlap - MARGIN if query.HasField("start") else None
        return {"first": True, "t": None, "from": start}
    try:
        mark = json.loads(query.watermark)
        if set(mark) == {"t", "from"} and all(at is None or isinstance(at, int) for at in mark.values()):
            return mark
    except (TypeError, ValueError):
        pass
    raise AdapterError("watermark_expired", "the stored watermark was written by another adapter")


def window_of(query):
    """Where in the window to go on: all its pages use the bound that its first one had. None: it begins."""
    if not query.HasField("cursor"):
        return None
    try:
        window = json.loads(query.cursor)
        if all(isinstance(window[name], int) for name in ("page", "size", "asked")):
            return window
    except (KeyError, TypeError, ValueError):
        pass
    raise AdapterError("cursor_expired", "the stored cursor was written by another adapter")


def since_of(mark, overlap):
    """The instant to ask for, inclusive; None: the beginning. A second change may have the timestamp of one that was seen."""
    bounds = []
    if mark["t"] is not None:
        bounds.append(mark["t"] - overlap - UNIT)
    if mark["from"] is not None:
        bounds.append(mark["from"] - UNIT)
    return max(bounds, default=None)


def after(mark, window):
    """The watermark after a window. It moves to the newest change and never back."""
    t, start, newest = mark["t"], mark["from"], window["newest"]
    if mark.get("first") and start is not None and window["behind"] > MARGIN and window["asked"] < start + MARGIN:
        # The server's clock is so far behind that the first window did not reach back to what is dated at the start: the next one does.
        return {"t": t, "from": start + MARGIN - window["behind"]}
    if newest is not None and (t is None or newest > t):
        t = newest
    return {"t": t, "from": start}


if __name__ == "__main__":
    serve(SmallAPI())
