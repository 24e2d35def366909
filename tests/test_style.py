"""The words of the project: obscure phrasings are not in the tree (docs/style.md)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from steadygan.config import Config

ROOT = Path(__file__).resolve().parents[1]

BANNED = [
    r"\b(go|goes|going|went|gone)( |_)on\b",
    r"is told\b",
    r"told of\b",
    r"by heart\b",
    r"for ever\b",
    r"\bmachine code\b",
    r"\bspread(s|ing)? and merg",
    r"takes no side",
    r"undecided D pays",
    r"\bwhat is (made|said|done) of\b",
    r"\bcannot be had\b",
    r"\bthey all become one\b",
    r"\bone and the same\b",
    r"\bwhat becomes of\b",
    r"\bof its own accord\b",
    r"\bgame value\b",
    r"\bhand(s|ed|ing)? on\b",
    r"\btake(s|n)? it out\b",
    r"\blooked at only with\b",
    r"\btell(s|ing)? of\b",
    r"\bafresh\b",
    r"\bstart(s|ed|ing)? fresh\b",
    r"\bmend(s|ed|ing)?\b",
    r"\banybody\b",
    r"\bsomebody\b",
    r"\bstrangers?\b",
    r"\ball run long\b",
    r"\bas often as wanted\b",
    r"\btakes? for real\b",
    r"\bthe way back\b",
    r"\bimages of images\b",
    r"\bleaves? it away\b",
    r"\bis there already\b",
    r"\bthat there (is|are)\b",
    r"\bwhat there is\b",
    r"\brun of ours\b",
    r"\b(ours|it|which) has not\b(?! \w+(ed|en)\b)",
    r"\bthat is no (data|file|folder|image|key|list|number|run|string|text)\b",
    r"\bmuch the faster\b",
    r"\bwaited out\b",
    r"\bin place of none\b",
    r"\bof (its|their|his) own affairs\b",
    r"\braises? nearly anything\b",
    r"\bwhole or not at all\b",
    r"\bis spoken of\b",
    r"\bwhat is none\b",
    r"\ba training adds\b",
    r"\bcomes? to nothing\b",
    r"\bcan be had\b",
    r"\b(is|are|was|were) to be had\b",
    r"\bin its stead\b",
    r"\bat hand\b",
    r"\bsay(s|ing)? of (it|its|them|a|an|the|all|some)\b",
    r"\bknows? nothing of\b",
    r"\ba column a class\b",
    r"\bas (it|they) stands?\b",
    r"\blast words\b",
]
"""As regular expressions, in any case."""

ABOUT_THE_WORDS = {"docs/style.md", "tests/test_style.py"}
SUFFIXES = {".cff", ".css", ".html", ".ipynb", ".js", ".md", ".py", ".sbatch", ".sh", ".toml", ".yaml", ".yml"}


def texts() -> dict[str, str]:
    """All texts for people, by path: prose, help, docstrings, comments."""
    files = [ROOT / ".ci/run", *(path for path in ROOT.iterdir() if path.suffix in SUFFIXES)]
    for folder in ("src", "tests", "docs", "benchmarks", ".ci", ".github", "deploy", "notebooks", "results"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    return {name: text for name, text in found.items() if name not in ABOUT_THE_WORDS}


def test_no_banned_phrasing_is_in_the_tree() -> None:
    """Also finds phrasings broken over two lines of prose or of a comment."""
    pattern = re.compile("|".join(BANNED).replace(" ", r"(?: |\s*\n[\s#*]*)"), re.IGNORECASE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts().items()
        for match in pattern.finditer(text)
    ]
    assert found == [], found


def test_a_docstring_names_modules_and_what_is_in_them() -> None:
    """Every `package.module.name` in backticks exists; files, keys and attributes of an argument look the same."""
    package = ROOT / "src/steadygan"
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")}
    modules = {
        "." + ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__"): names_in(tree)
        for path, tree in trees.items()
    }
    first_words = {module.split(".")[1] for module in modules} | {module.split(".")[-1] for module in modules}
    keys = {f"{section}.{key}" for section, field in Config.model_fields.items() for key in fields(field.annotation)}
    found = []
    for path, tree in trees.items():
        arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        for name in DOTTED.findall("\n".join(docstrings(tree))):
            first, second, *_ = name.split(".")
            if first not in first_words - arguments or f"{first}.{second}" in keys or name.endswith(FILES):
                continue
            module, _, inner = f".{name}".rpartition(".")
            inside = any(known.endswith(module) and inner in names for known, names in modules.items())
            if not inside and not any(known.endswith(f".{name}") for known in modules):
                found.append(f"{path.name}: {name}")
    assert found == [], found


DOTTED = re.compile(r"`(?:steadygan\.)?([a-z_0-9]+(?:\.[a-zA-Z_0-9]+)+)(?:\([^`]*\))?`")
FILES = (".jsonl", ".json", ".md", ".npz", ".onnx", ".png", ".pt", ".pth", ".py", ".thrift", ".yaml", ".zip")


def docstrings(tree: ast.Module) -> list[str]:
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return [node.value for node in alone if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def names_in(tree: ast.Module) -> set[str]:
    """What a module defines or imports, methods included."""
    nodes = list(ast.walk(tree))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}


def fields(section: object) -> list[str]:
    return list(getattr(section, "model_fields", {}))
