"""The studio's access rules."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient
from studio_runs import Open, id_of

import steadygan.studio
from steadygan.studio.jobs import LOG, Jobs
from steadygan.studio.security import COOKIE, is_loopback
from steadygan.studio.server import Studio, create_app, page_files


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1", "[::1]:9", "127.0.0.1", "LOCALHOST"])
def test_the_machine_itself_may_ask_whatever_the_port(open_studio: Open, root_of_runs: Path, host: str) -> None:
    assert open_studio(root_of_runs).get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "evil@127.0.0.1",
        "10.0.0.1",
        "127.0.0.1/x",
        "[::1",
        "studio.example",
    ],
)
def test_another_name_that_points_here_is_refused(open_studio: Open, root_of_runs: Path, host: str) -> None:
    assert open_studio(root_of_runs).get("/api/runs", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_is_refused(open_studio: Open, root_of_runs: Path, headers: dict[str, str]) -> None:
    client = open_studio(root_of_runs, allowed=True)
    assert client.get("/api/runs", headers=headers).status_code == 403
    assert client.post(f"/api/runs/{'0' * 12}/ask", json={"do": "stop"}, headers=headers).status_code == 403


def test_the_page_itself_is_answered_and_a_link_to_it_may_be_followed(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert client.get("/api/runs", headers=own).status_code == 200
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_what_changes_something_needs_a_header_that_no_form_can_send(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs, allowed=True)
    path = f"/api/runs/{id_of(client, 'first')}/ask"
    assert client.post(path, json={"do": "stop"}, headers={"x-steadygan": "0"}).status_code == 403
    assert client.post(path, json={"do": "stop"}).status_code == 200


def test_long_bodies_are_refused(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs, allowed=True)
    assert client.post("/api/control/start", content=b"x" * 70_000).status_code == 413
    assert client.post("/api/control/start", content=iter([b"x"])).status_code == 413
    for body in (b"", b"[]", b"{", b"\xff", b'{"a": 1}'):
        assert client.post("/api/control/start", content=body).status_code == 400


def test_elsewhere_a_token_is_needed_once(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs, token="right-token")
    other = {"host": "studio.example:8000"}
    assert client.get("/api/runs", headers=other).status_code == 401
    for wrong in ("", "wrong", "right-tokenn", "ÿ"):
        assert client.get(f"/?token={quote(wrong)}", headers=other, follow_redirects=False).status_code == 401
    assert client.get("/api/runs?token=right-token", headers=other).status_code == 401
    answer = client.get("/?token=right-token", headers=other, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["set-cookie"].split("; "))
    cookie = {"cookie": f"{COOKIE}=right-token"}
    assert client.get("/api/runs", headers={**other, **cookie}).status_code == 200
    assert client.get("/api/runs", headers={"host": "evil.example", **cookie}).status_code == 403
    assert client.get("/api/runs", headers={**other, "cookie": f"{COOKIE}=wrong"}).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_own_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_other_addresses_are_not_taken_for_own(host: str) -> None:
    assert not is_loopback(host)


def test_every_answer_tells_the_browser_what_to_refuse(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    for path in ("/", "/static/app.js", "/api/runs", "/nothing", "/api/runs/unknown"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"


TRAVERSALS = ["../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "..%5c..%5csecret.txt"]
TRAVERSALS += [
    "....//secret.txt",
    "%252e%252e%252fsecret.txt",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "first",
    "config.yaml%00",
]
ADDRESSES = [
    "/static/{}",
    "/api/runs/{}",
    "/api/runs/{}/sheets/5",
    "/api/runs/{id}/sheets/{}",
    "/{}",
    "/api/runs/{id}/{}",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_the_table(open_studio: Open, root_of_runs: Path, address: str, path: str) -> None:
    client = open_studio(root_of_runs)
    answer = client.get(address.replace("{id}", id_of(client, "first")).replace("{}", path))
    assert answer.status_code in (400, 404, 405)
    assert b"not for pages" not in answer.content
    assert b"root:" not in answer.content


@pytest.mark.parametrize(
    "query", ["index=-1", "index=..%2f", "frames=0", "frames=1e9", "frames=99999999999999999999999"]
)
def test_numbers_of_a_query_are_numbers_within_bounds(open_studio: Open, root_of_runs: Path, query: str) -> None:
    client = open_studio(root_of_runs)
    assert client.get(f"/api/runs/{id_of(client, 'first')}/strip?{query}").status_code == 400


PARTS = ["config.yaml", "provenance.json", "metrics.jsonl", "scores.jsonl", "status.json", "samples", "checkpoints"]


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_a_run_may_be_a_link(open_studio: Open, root_of_runs: Path, tmp_path: Path, part: str) -> None:
    run, elsewhere = root_of_runs / "first", tmp_path / "elsewhere"
    (run / "status.json").write_text('{"state": "failed", "message": "secret"}')
    (run / "provenance.json").write_text('{"secret": 1}')
    (run / "config.yaml").write_text("{name: secret, data: {size: 8}}")
    (run / "metrics.jsonl").write_text('{"step": 9, "secret": 1}\n')
    (run / "scores.jsonl").write_text('{"step": 9, "secret": 1, "protocol": {"name": "x"}}\n')
    manifest = run / "checkpoints" / "step-00000009" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("{}")
    manifest.with_name("weights.safetensors").touch()
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}"
    before = client.get(address).json()
    (run / part).rename(elsewhere)
    (run / part).symlink_to(elsewhere)
    os.utime(run / "samples")
    after = client.get(address).json()
    told = {
        "config.yaml": "config",
        "provenance.json": "provenance",
        "metrics.jsonl": "columns",
        "scores.jsonl": "scores",
        "status.json": "message",
        "samples": "steps_of_sheets",
        "checkpoints": "checkpoints",
    }[part]
    assert before[told]
    assert f"{part} is a link and is not read" in after["troubles"]
    if part not in ("metrics.jsonl", "scores.jsonl"):  # what was read of them before stays
        assert not after[told]
    assert client.get(f"{address}/thumb").status_code == (204 if part == "samples" else 200)
    assert not open_studio(root_of_runs).get(address).json()[told]


@pytest.mark.parametrize("part", [*PARTS, "request.json", "samples/step-00000010.png", "checkpoints/best"])
def test_a_pipe_in_the_place_of_a_part_holds_nobody_up(open_studio: Open, root_of_runs: Path, part: str) -> None:
    path = root_of_runs / "first" / part
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}"
    for page in ("", "/health", "/scores", "/series?name=D_accuracy", "/thumb", "/sheets/10", "/strip"):
        assert client.get(address + page).status_code in (200, 204, 404)


def test_a_linked_file_of_a_run_is_not_handed_out(open_studio: Open, root_of_runs: Path, tmp_path: Path) -> None:
    (root_of_runs / "first" / "samples" / "step-00000007.png").symlink_to(tmp_path / "secret.txt")
    checkpoint = root_of_runs / "first" / "checkpoints" / "step-00000007"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    (checkpoint / "weights.safetensors").symlink_to(tmp_path / "secret.txt")
    client = open_studio(root_of_runs)
    assert client.get(f"/api/runs/{id_of(client, 'first')}/sheets/7").status_code == 404
    assert client.get(f"/api/runs/{id_of(client, 'first')}").json()["checkpoints"] == []


def test_a_training_that_is_started_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOG).symlink_to(tmp_path / "secret.txt")
    with pytest.raises(OSError, match=LOG):
        Jobs().start(["presets"], tmp_path / "run")
    assert not (tmp_path / "secret.txt").exists()


def test_what_is_no_png_is_not_handed_out_as_a_sheet(open_studio: Open, root_of_runs: Path) -> None:
    (root_of_runs / "first" / "samples" / "step-00000007.png").write_text("<script>alert(1)</script>")
    client = open_studio(root_of_runs)
    assert client.get(f"/api/runs/{id_of(client, 'first')}/sheets/7").status_code == 404


def test_the_page_loads_nothing_from_elsewhere_and_writes_no_markup() -> None:
    files = page_files()
    assert "index.html" in files
    assert sum(len(body) for body, _ in files.values()) < 500_000
    for name, (body, _) in files.items():
        text = body.decode()
        assert not re.search(r"(?:https?:)?//\w", text.replace("http://www.w3.org/", "")), name
        for risky in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style="):
            assert risky not in text, (name, risky)


def test_every_module_is_asked_for_with_the_page_and_not_one_after_the_other() -> None:
    files = page_files()
    preloaded = re.findall(r'<link rel="modulepreload" href="/static/([^"]+)">', files["index.html"][0].decode())
    assert sorted([*preloaded, "app.js"]) == sorted(name for name in files if name.endswith(".js"))


def test_the_server_itself_never_loads_torch_nor_any_module_of_training() -> None:
    code = "import sys, steadygan.studio.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name == "torch" or name.startswith("steadygan.training")]
    for path in Path(steadygan.studio.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert "training" not in (node.module or ""), path.name


def test_an_error_in_a_handler_is_an_answer_and_not_the_end(
    root_of_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(root_of_runs)
    monkeypatch.setattr(studio.pulse, "now", lambda: 1 // 0)
    client = TestClient(create_app(studio), base_url="http://127.0.0.1", raise_server_exceptions=False)
    assert client.get("/api/runs").json() == {"error": "internal error: ZeroDivisionError"}
    assert client.get("/api/about").status_code == 200
