"""The tables of docs/reference that are made from the code.

    python -m tests.docs.reference

writes them again; the test beside this module tells when that is due.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gatewright import event_kinds
from tests.docs.pages import DOCS, ROOT, replace_section

SOURCE = ROOT / "src" / "gatewright"
_KIND = re.compile(r"[a-z_]+:[a-z_]+:[a-z_]+")
SOURCES = ("admin", "auth", "cache", "encryption", "monitoring", "policy", "rbac", "storage", "threats", "web")
_CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Package or module below gatewright, and its tree."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        yield name, ast.parse(path.read_text())


# --- errors -----------------------------------------------------------------------------------------------------


def errors() -> str:
    """Every public class of the tree, in the order of the module, indented by its depth."""
    from gatewright import errors as tree

    rows = []
    for kind in vars(tree).values():
        if inspect.isclass(kind) and issubclass(kind, tree.SecurityError) and not kind.__name__.startswith("_"):
            above = [c for c in kind.__mro__[1:] if issubclass(c, tree.SecurityError) and c.__name__[0] != "_"]
            name = f"{'&nbsp;' * 4 * len(above)}`{kind.__name__}`"
            sentence = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
            rows.append(
                _row(
                    name,
                    f"`{kind.default_code}`",
                    kind.category,
                    kind.http_status,
                    _plain(sentence),
                    kind.recommended_action,
                )
            )
    return "\n".join([_row("class", "code", "category", "HTTP", "what", "what to do"), _row(*["---"] * 6), *rows])


def codes() -> str:
    """Codes more specific than those of the classes, with the packages that use them."""
    from gatewright import errors as tree

    general = {kind.default_code for kind in vars(tree).values() if hasattr(kind, "default_code")}
    found: dict[str, set[str]] = {}
    for package, module in modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                for code in _codes_of(node):
                    if code not in general:
                        found.setdefault(code, set()).add(package)
    rows = [_row(f"`{code}`", ", ".join(sorted(packages))) for code, packages in sorted(found.items())]
    return "\n".join([_row("code", "from"), _row("---", "---"), *rows])


def _codes_of(call: ast.Call) -> Iterator[str]:
    """Codes that a call names: ``code="X"``, or the second argument of ``Problem(status, "X", ...)``."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    if isinstance(call.func, ast.Name) and call.func.id == "Problem":
        values += call.args[1:2]
    for value in values:
        for node in ast.walk(value):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
                yield node.value


# --- events -----------------------------------------------------------------------------------------------------


def events() -> str:
    """Every kind of event that the code names, with the packages that emit it."""
    found: dict[str, set[str]] = {kind: set() for kind in event_kinds.every_kind()}
    for package, module in modules():
        for kind in _kinds(module):
            source = kind.partition(":")[0]
            consumed = package == "monitoring" and source != "monitoring"  # the monitor's rules name others' events
            if source in SOURCES and not consumed:
                found.setdefault(kind, set()).add(package)
    rows = [_row(f"`{kind}`", ", ".join(sorted(packages))) for kind, packages in sorted(found.items())]
    return "\n".join([_row("kind", "emitted by"), _row("---", "---"), *rows])


def _kinds(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "event_kinds":
            yield getattr(event_kinds, node.attr)


# --- the command line -------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments and options."""
    import typer

    from gatewright.cli.main import app

    root: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, command) for name, command in leaves("gatewright", root))


def leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands that do something, by their full names."""
    if hasattr(command, "commands"):
        for sub, child in command.commands.items():
            yield from leaves(f"{name} {sub}", child)
    else:
        yield name, command


def _command(name: str, command: Any) -> str:
    rows = []
    usage = [name]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            label = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
            usage.append(label if parameter.required else f"[{label}]")
            rows.append(_row(f"`{label}`", parameter.help or "", ""))
        elif parameter.name != "help":
            default = "" if parameter.is_flag or parameter.default is None else f"`{_default(parameter.default)}`"
            rows.append(_row(" ".join(f"`{o}`" for o in parameter.opts), parameter.help or "", default))
            if parameter.required:
                usage.append(f"{parameter.opts[0]} {parameter.name.upper()}")
    usage.append("[OPTIONS]")
    text = inspect.cleandoc(command.help or "").replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n")
    table = "\n".join([_row("argument or option", "what", "default"), _row("---", "---", "---"), *rows])
    return f"### `{name}`\n\n```text\n{' '.join(usage)}\n```\n\n{text}\n\n{table}"


def _default(value: Any) -> str:
    return str(getattr(value, "value", value))


# --- HTTP -------------------------------------------------------------------------------------------------------


def http() -> str:
    """Every call that the service describes, with what the middleware asks of it."""
    from gatewright import SecurityFoundation, Settings
    from gatewright.web import EXTENSION, create_app

    app = create_app(SecurityFoundation(Settings(database=":memory:")), demo=True)
    rows = []
    for path, calls in app.openapi()["paths"].items():
        for method, call in calls.items():
            good = next(status for status in call["responses"] if status.startswith("2"))
            does = call.get("description", "").split("\n\n")[0].replace("\n", " ")
            rows.append(_row(f"`{method.upper()} {path}`", good, _needs(call[EXTENSION]), _plain(does)))
    return "\n".join([_row("call", "answers", "asks for", "does"), _row(*["---"] * 4), *rows])


def _needs(declared: dict[str, Any]) -> str:
    kinds = {"none": [], "either": ["session or key"]}.get(declared["credentials"], [declared["credentials"]])
    parts = [*kinds, *([f"`{declared['permission']}`"] if declared["permission"] else [])]
    parts += ["recent second factor"] if declared["recent_mfa"] else []
    parts += [f"quota `{name}`" for name in declared["consumes"]]
    return ", ".join(parts)


def access_permissions() -> str:
    """The permissions of our own calls, and which of the roles that ship have them."""
    from gatewright.access import KEY_ACCESS, PERSONAL_ACCESS, PLATFORM_ACCESS, TENANT_ACCESS
    from gatewright.policy import load_policy

    roles = load_policy().roles
    rows = []
    for name, meaning in {**TENANT_ACCESS, **PLATFORM_ACCESS}.items():
        have = [
            f"`{role}`"
            for role, found in roles.items()
            if (found.platform or name in TENANT_ACCESS) and {"*", name} & set(found.permissions)
        ]
        who = "everyone" if name in PERSONAL_ACCESS else ", ".join(have)
        rows.append(_row(f"`{name}`", meaning, who, "yes" if name in KEY_ACCESS else ""))
    return "\n".join([_row("permission", "allows to", "roles that ship with it", "keys"), _row(*["---"] * 4), *rows])


def access_matrix() -> str:
    """Every call against every kind of caller, as ``tests/access`` proves it."""
    from tests.access.table import matrix

    return matrix()


# ----------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """reST roles and double backquotes as Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


MADE: list[tuple[Path, str, Callable[[], str]]] = [
    (DOCS / "reference" / "errors.md", "errors", errors),
    (DOCS / "reference" / "errors.md", "codes", codes),
    (DOCS / "reference" / "events.md", "events", events),
    (DOCS / "reference" / "cli.md", "commands", commands),
    (DOCS / "reference" / "http-api.md", "calls", http),
    (DOCS / "reference" / "access.md", "permissions", access_permissions),
    (DOCS / "reference" / "access.md", "matrix", access_matrix),
]


def main() -> None:
    """Write every made part again."""
    for page, name, make in MADE:
        replace_section(page, name, make())


if __name__ == "__main__":
    main()
