"""/docs: the prose of shared/docs and the reference made from the OpenAPI document.

Plain HTML with one style sheet inside: it needs no script and nothing from another host, so it
works on a site that is cut off.
"""

import html
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from aiohttp import web

from shared.errors import NotFound
from shared.http.openapi import DESCRIPTION
from shared.http.routes import PUBLIC, Routes

routes = Routes("/docs", tag="description")

_PAGE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")

# As somebody new to Hanse would read them; others follow by name.
_ORDER: Final = (
    "start",
    "policies",
    "semantics",
    "rollout",
    "gitops",
    "import",
    "sites",
    "conflicts",
    "enforcement",
    "services",
    "access",
    "directories",
    "audit",
    "roles",
    "trust",
    "operations",
    "backup",
    "incidents",
    "api",
    "client",
    "errors",
)
DECISIONS: Final = "decisions"
"""The folder of numbered records: why things are as they are."""

# The page has no script and loads nothing; only its own inline style sheet is allowed.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_STYLE: Final = """
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; font: 16px/1.55 system-ui, sans-serif;
  color: #1b1f24; background: #fff }
nav { border-bottom: 1px solid #d0d7de; padding-bottom: .6rem; margin-bottom: 1.5rem }
nav a { margin-right: 1.2rem } a { color: #0b57a4 }
pre { background: #f4f6f8; padding: .8rem; overflow: auto } code { font-size: .92em }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1.4rem }
td, th { border: 1px solid #d0d7de; padding: .3rem .6rem; text-align: left; vertical-align: top }
.method { display: inline-block; min-width: 4.2rem; font-weight: 600 }
@media (prefers-color-scheme: dark) { body { color: #e6e8eb; background: #14171a }
  pre { background: #20252b } a { color: #7ab7f5 } td, th, nav { border-color: #3a4149 } }
"""


@routes.get("", permission=PUBLIC, media_type="text/html")
async def index(request: web.Request) -> web.Response:
    """Show what there is to read, and every route."""
    names = _names()
    reading = _listed("Reading", [each for each in names if "/" not in each])
    decisions = _listed("Decisions, and their reasons", [each for each in names if "/" in each])
    document = await request.app[DESCRIPTION].document(request)
    body = f"<h1>{_e(document['info']['title'])}</h1>{reading}{decisions}{_reference(document)}"
    return _page(document["info"]["title"], body)


@routes.get("/{page}", permission=PUBLIC, media_type="text/html")
async def page(request: web.Request) -> web.Response:
    """Show one page of the documentation."""
    return _shown(request.match_info["page"])


@routes.get(f"/{DECISIONS}/{{page}}", permission=PUBLIC, media_type="text/html")
async def decision(request: web.Request) -> web.Response:
    """Show one decision, with its reasons."""
    return _shown(f"{DECISIONS}/{request.match_info['page']}")


def _shown(name: str) -> web.Response:
    # The name is looked up among those there are, and never becomes part of a path.
    if name not in _pages():
        raise NotFound("there is no such page; see /docs")
    return _page(_title(name), _render(name))


def _listed(title: str, names: list[str]) -> str:
    links = "".join(f'<li><a href="/docs/{name}">{_e(_title(name))}</a></li>' for name in names)
    return f"<h2>{_e(title)}</h2><ul>{links}</ul>" if links else ""


def _names() -> list[str]:
    places = {name: place for place, name in enumerate(_ORDER)}
    return sorted(_pages(), key=lambda name: (places.get(name, len(places)), name))


@cache
def _pages() -> dict[str, Traversable]:
    folder = files("shared") / "docs"
    return dict(_pages_in(folder, "")) | dict(_pages_in(folder / DECISIONS, f"{DECISIONS}/"))


def _pages_in(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for each in folder.iterdir() if folder.is_dir() else ():
        name = each.name.removesuffix(".md")
        if name != each.name and _PAGE_NAME.fullmatch(name):
            yield prefix + name, each


@cache
def _text(name: str) -> str:
    return _pages()[name].read_text("utf-8")


def _title(name: str) -> str:
    first = _text(name).partition("\n")[0]
    return first.removeprefix("# ").strip() if first.startswith("# ") else name


@cache
def _render(name: str) -> str:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - no server's start waits for its readers

    # "js-default" takes no HTML in the text, so a page can't bring any.
    rendered: str = MarkdownIt("js-default").render(_text(name))

    def leads_here(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("/docs", posixpath.dirname(name), found[1]))
        return f'href="{path}{found[2] or ""}"'

    rendered = re.sub(r'href="([a-z0-9./-]+)\.md(#[^"]*)?"', leads_here, rendered)
    return re.sub(r"<(h[23])>(.*?)</h[23]>", _with_id, rendered)


def _with_id(heading: re.Match[str]) -> str:
    """Return a heading that links can lead to, by the name that forges give it too."""
    text = html.unescape(re.sub(r"<[^>]*>", "", heading[2])).lower()
    slug = re.sub(r"[^\w -]", "", text).replace(" ", "-")
    return f'<{heading[1]} id="{_e(slug)}">{heading[2]}</{heading[1]}>'


def _reference(document: dict[str, Any]) -> str:
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_row(method, path, operation))
    tables = "".join(
        f"<h3>{_e(tag)}</h3><table>{''.join(rows)}</table>" for tag, rows in sorted(by_tag.items())
    )
    models = "".join(
        _model(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    return (
        '<h2>Routes</h2><p>For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{tables}<h2>Documents</h2>{models}"
    )


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<br><code>{_e(each['name'])}</code> {_e(each['description'])}"
        for each in operation["parameters"]
        if each["in"] != "path"
    )
    text = f"{_e(operation['summary'])}<br><small>{_e(operation['description'])}</small>"
    return (
        f'<tr><td><span class="method">{method.upper()}</span> <code>{_e(path)}</code></td>'
        f"<td>{text}{parameters}</td></tr>"
    )


def _model(name: str, schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{_e(field)}</code></td><td>{_e(_type_of(each))}</td>"
        f"<td>{_e(each.get('description', ''))}</td></tr>"
        for field, each in schema.get("properties", {}).items()
    )
    heading = f'<h3 id="{_e(name)}">{_e(name)}</h3><p>{_e(schema.get("description", ""))}</p>'
    return f"{heading}<table>{rows}</table>" if rows else heading


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type_of(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type_of(schema.get('items', {}))}"
    return str(schema.get("const") or schema.get("type") or "any")


def _page(title: str, body: str) -> web.Response:
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<nav><a href="/docs">Documentation</a><a href="/openapi.json">openapi.json</a></nav>'
        f"{body}</body></html>"
    )
    headers = {"Content-Security-Policy": _POLICY}
    return web.Response(text=text, content_type="text/html", headers=headers)


def _e(value: Any) -> str:
    return html.escape(str(value))
