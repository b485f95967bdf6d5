"""The commands on repositories: exit statuses, streams, forms of output, options."""

import io
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import typer
import yaml

from shared.cli import main
from shared.cli.main import run
from shared.errors import Conflict, Unreachable

FLOW = ("--from", "192.0.2.1", "--to", "10.0.0.5", "--service", "web")
HANSE = Path(sys.executable).parent / "hanse"


def policy_test(*flows: str, name: str = "t", more: str = "") -> str:
    listed = "".join(f"    - {flow}\n" for flow in flows)
    head = f"apiVersion: hanse/v1\nkind: PolicyTest\nmetadata: {{name: {name}}}\nspec:\n"
    return f"{head}  site: s1\n{more}  flows:\n{listed}"


PASSES = "{from: {address: 192.0.2.1}, to: {network: App}, service: web, expect: allow}"
FAILS = "{from: {address: 192.0.2.1}, to: {network: App}, service: tcp/22, expect: allow}"


class TestStatus:
    def test_done_is_0(self, repo, hanse):
        root = repo()
        for command in (["validate"], ["resolve", "--site", "s1"], ["policy", "test"]):
            words = command[:2] if command[0] == "policy" else command[:1]
            done = hanse(*words, root, *command[len(words) :])
            assert (done.status, done.err) == (0, "")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["nonsense"],
            ["resolve"],
            ["resolve", "{}"],
            ["resolve", "{}", "--site", "s1", "--nonsense"],
            ["resolve", "{}", "--site", "s1", "-o", "xml"],
            ["resolve", "{}", "--site", "nowhere"],
            ["resolve", "{}", "--site", "s1", "--node", "nowhere"],
            ["trace", "{}", "--site", "s1"],
            ["trace", "{}", "--site", "s1", "--from", "192.0.2.1"],
            ["trace", "{}", "--site", "s1", *FLOW, "--flows", "x"],
            ["trace", "{}", "--site", "s1", "--flows", "/does/not/exist"],
            ["trace", "{}", "--site", "s1", "--flows", "/"],
            ["trace", "{}", "--site", "s1", *FLOW, "--at", "yesterday"],
            ["trace", "{}", "--site", "s1", *FLOW[:4], "--service", "tcp"],
            ["trace", "{}", "--site", "s1", *FLOW[:4], "--service", "tcp/80-81"],
            ["trace", "{}", "--site", "s1", *FLOW[:4], "--service", "nothing"],
            ["trace", "{}", "--site", "s1", *FLOW[:4], "--service", "icmp", "--source-port", "1"],
            ["trace", "{}", "--site", "s1", "--from", "::1", *FLOW[2:]],
            ["explain", "Nothing"],
            ["policy", "test", "{}", "--junit", "/does/not/exist.xml"],
        ],
        ids=" ".join,
    )
    def test_wrong_use_is_2_with_a_sentence_on_stderr(self, repo, hanse, arguments):
        root = repo()
        done = hanse(*(each.format(root) for each in arguments))
        assert done.status == 2
        assert done.out == ""
        assert done.err
        assert "Traceback" not in done.err

    def test_bad_input_is_2_with_file_line_and_path(self, repo, hanse):
        root = repo({"federation/x.yaml": "apiVersion: hanse/v1\nkind: Tenant\nspec: {}\n"})
        for done in (hanse("validate", root), hanse("resolve", root, "--site", "s1")):
            assert done.status == 2
            assert done.out == ""
            assert "federation/x.yaml:1 metadata: " in done.err
            assert "(missing_field)" in done.err

    def test_an_unreachable_server_is_3_and_other_errors_are_2(self, monkeypatch, capsys):
        def raising(error: Exception) -> Any:
            app = typer.Typer()

            @app.command()
            def fail() -> None:
                raise error

            return typer.main.get_command(app)

        for error, status, printed in (
            (Unreachable("the site doesn't answer"), 3, "error: the site doesn't answer\n"),
            (Conflict("someone else was first"), 2, "error: someone else was first\n"),
            (PermissionError(13, "Permission denied", "x"), 2, "error: x: Permission denied\n"),
            (KeyboardInterrupt(), 130, ""),
            (BrokenPipeError(32, "Broken pipe"), 1, ""),
        ):
            monkeypatch.setattr(main, "application", lambda error=error: raising(error))
            assert run([]) == status
            assert capsys.readouterr().err == printed

    def test_a_mistake_of_ours_is_70_and_a_sentence(self, monkeypatch, capsys):
        monkeypatch.setattr(main, "application", lambda: 1 / 0)
        assert run(["validate"]) == 70
        printed = capsys.readouterr().err
        assert "hanse made a mistake (ZeroDivisionError" in printed
        assert "Traceback" not in printed


class TestForms:
    def test_validate_prints_json_and_yaml_on_stdout_faults_or_not(self, repo, hanse):
        root = repo()
        assert hanse("validate", root, "-o", "json").data == {"errors": [], "warnings": []}
        (root / "federation/x.yaml").write_text("- 1\n")
        done = hanse("validate", root, "-o", "yaml")
        assert done.status == 2
        (error,) = yaml.safe_load(done.out)["errors"]
        assert error == {
            "file": "federation/x.yaml",
            "line": 1,
            "path": "",
            "code": "invalid_value",
            "message": "a document is a mapping with apiVersion, kind, metadata and spec, "
            "not a list",
        }
        assert done.err == ""

    def test_resolve_says_the_same_in_json_and_yaml(self, repo, hanse):
        root = repo()
        done = hanse("resolve", root, "--site", "s1", "-o", "json")
        assert done.data == yaml.safe_load(hanse("resolve", root, "-s", "s1", "-o", "yaml").out)
        assert done.data["rules"][0]["to"] == ["10.0.0.0/24"]
        assert hanse("resolve", root, "-s", "s1", "-o", "name").out == "common/apps/in\n"

    def test_nothing_is_coloured_where_nobody_looks(self, repo, hanse):
        root = repo({"tests/t.yaml": policy_test(FAILS)})
        for done in (
            hanse("resolve", root, "--site", "s1"),
            hanse("trace", root, "--site", "s1", *FLOW),
            hanse("policy", "test", root),
        ):
            assert "\x1b" not in done.out + done.err

    def test_markup_and_emoji_in_documents_stay_text(self, repo, hanse):
        names = "apiVersion: hanse/v1\nkind: Network\nmetadata: {name: App}\n"
        root = repo({"sites/s1/names.yaml": f'{names}spec: {{subnets: ["2001:db8:a::/64"]}}\n'})
        for done in (
            hanse("resolve", root, "--site", "s1"),
            hanse("trace", root, "--site", "s1", *FLOW),
        ):
            assert "2001:db8:a::/64" in done.out
        (root / "federation/x.yaml").write_text("kind: '[bold]x[/]'\n")
        assert '"[bold]x[/]"' in hanse("validate", root).err


class TestTrace:
    def test_a_services_name_is_taken(self, repo, hanse):
        done = hanse("trace", repo(), "--site", "s1", *FLOW, "-o", "json")
        assert done.data["verdict"] == "allow"
        assert (done.data["protocol"], done.data["port"]) == ("tcp", 443)
        assert done.data["sourcePort"] == 49152
        assert done.data["policies"][0]["rules"][0]["line"] == 6

    def test_flows_come_from_stdin_too_and_keep_their_fields(self, repo, hanse, monkeypatch):
        line = b'{"from":"192.0.2.1","to":"10.0.0.5","protocol":"tcp","port":443,"id":"\xc3\xa9"}'
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line + b"\n\n" + line)))
        done = hanse("trace", repo(), "--site", "s1", "--flows", "-", "-o", "json")
        answers = [json.loads(each) for each in done.out.splitlines()]
        expected = {"verdict": "allow", "tier": "default", "policy": "apps", "rule": "in"}
        given = json.loads(line)
        assert answers == [{**given, **expected, "tenant": "common"}] * 2

    def test_a_bad_line_is_2_with_its_number_and_no_answer(self, repo, hanse, tmp_path):
        flows = tmp_path / "flows.jsonl"
        flows.write_text('{"from": "192.0.2.1", "to": "10.0.0.5", "protocol": "icmp"}\n{}\n')
        done = hanse("trace", repo(), "--site", "s1", "--flows", flows, "-o", "json")
        assert (done.status, done.out) == (2, "")
        assert f"{flows}:2 from: " in done.err

    def test_at_judges_overrides_at_another_time(self, repo, hanse):
        override = (
            "apiVersion: hanse/v1\nkind: Override\nmetadata: {name: o}\n"
            "spec:\n  target: {kind: SecurityPolicy, name: apps}\n  reason: r\n"
            "  expiresAt: 2030-01-01T00:00:00Z\n"
            "  spec: {rules: [{name: none, from: any, to: any, action: reject}]}\n"
        )
        root = repo({"sites/s1/o.yaml": override})
        for at, verdict in (
            ("2029-12-31T23:59:59Z", "reject"),
            ("2030-01-01T00:00:01Z", "allow"),
            ("2030-01-01T01:00:00+02:00", "reject"),
            ("2030-01-02", "allow"),
        ):
            done = hanse("trace", root, "--site", "s1", *FLOW, "--at", at, "-o", "json")
            assert done.data["verdict"] == verdict

    def test_staged_policies_count_only_if_asked_for(self, repo, hanse):
        policy = (
            "apiVersion: hanse/v1\nkind: SecurityPolicy\nmetadata: {name: s}\n"
            "spec: {stage: staged, priority: 100, enforcement: mandatory, "
            "rules: [{name: r, from: any, to: any, action: deny}]}\n"
        )
        root = repo({"federation/s.yaml": policy})
        done = hanse("trace", root, "--site", "s1", *FLOW)
        assert "Left out here:\n  SecurityPolicy s (federation/s.yaml:1): it is staged" in done.out
        assert done.out.endswith("allow, by rule in of policy apps (tier default)\n")
        done = hanse("trace", root, "--site", "s1", *FLOW, "--staged", "-o", "json")
        assert (done.data["verdict"], done.data["policy"]) == ("deny", "s")

    def test_a_hundred_thousand_flows_take_seconds(self, repo, hanse, tmp_path):
        flows = tmp_path / "flows.jsonl"
        with flows.open("w") as file:
            for number in range(100_000):
                source = f"10.{number % 7}.{number % 251}.{number % 241}"
                flow = {"from": source, "to": "10.0.0.9", "protocol": "tcp", "port": number % 65536}
                file.write(json.dumps(flow) + "\n")
        start = time.process_time()
        done = hanse("trace", repo(), "--site", "s1", "--flows", flows, "-o", "json")
        assert done.out.count("\n") == 100_000
        assert time.process_time() - start < 20


class TestPolicyTest:
    def test_a_failing_flow_is_1_and_shows_the_deciding_rule_and_its_place(self, repo, hanse):
        deny = (
            "apiVersion: hanse/v1\nkind: SecurityPolicy\nmetadata: {name: ssh}\nspec:\n  rules:\n"
            "    - {name: no, from: any, to: any, services: [{protocol: tcp}], action: deny}\n"
        )
        tests = policy_test(PASSES, FAILS)
        root = repo({"tests/t.yaml": tests, "federation/ssh.yaml": deny})
        done = hanse("policy", "test", root)
        assert done.status == 1
        assert "flow 2 (line 8)" in done.out
        assert "deny, by rule no of policy ssh, tier default (federation/ssh.yaml:6)" in done.out
        answer = hanse("policy", "test", root, "-o", "json").data
        assert (answer["passed"], answer["failed"]) == (1, 1)
        (outcome,) = answer["tests"][0]["flows"][1]["outcomes"]
        assert (outcome["file"], outcome["line"]) == ("federation/ssh.yaml", 6)
        assert outcome["example"]["to"] == "10.0.0.0"

    def test_tests_live_in_the_federation_too(self, repo, hanse):
        done = hanse("policy", "test", repo({"federation/t.yaml": policy_test(FAILS)}))
        assert done.status == 1

    def test_no_tests_are_no_failure(self, repo, hanse):
        done = hanse("policy", "test", repo())
        assert (done.status, done.out) == (0, "There are no PolicyTest documents.\n")

    @pytest.mark.parametrize("more", ["  node: nowhere\n", ""])
    def test_an_unknown_site_or_node_is_bad_input(self, repo, hanse, more):
        tests = policy_test(PASSES, more=more)
        if not more:
            tests = tests.replace("site: s1", "site: s9")
        assert hanse("policy", "test", repo({"tests/t.yaml": tests})).status == 2

    def test_junit_has_a_suite_for_each_test_and_a_case_for_each_flow(self, repo, hanse, tmp_path):
        selector = '{networks: {matchLabels: {"<&>": "\\"é"}}}'
        odd = f"{{from: {selector}, to: {{network: App}}, service: web, expect: deny}}"
        tests = f"{policy_test(PASSES, FAILS, odd)}---\n{policy_test(PASSES, name='u')}"
        junit = tmp_path / "junit.xml"
        done = hanse("policy", "test", repo({"tests/t.yaml": tests}), "--junit", junit)
        assert done.status == 1
        root = ET.parse(junit).getroot()
        assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "4", "2")
        suites = root.findall("testsuite")
        assert [(each.get("name"), each.get("failures")) for each in suites] == [
            ("t", "2"),
            ("u", "0"),
        ]
        cases = suites[0].findall("testcase")
        assert [len(case.findall("failure")) for case in cases] == [0, 1, 1]
        assert cases[1].get("line") == "8"
        assert "every packet gets deny" in cases[1].find("failure").get("message")


class TestExplain:
    def test_all_kinds_are_listed(self, hanse):
        done = hanse("explain", "-o", "json")
        assert {"SecurityPolicy", "Override", "PolicyTest"} <= {each["kind"] for each in done.data}
        assert all(each["meaning"] for each in done.data)

    @pytest.mark.parametrize(
        "subject",
        [
            "SecurityPolicy.spec.rules.from",
            "securitypolicy.rules[0].from",
            "securitypolicies.rules.from",
        ],
    )
    def test_a_field_is_found_with_or_without_spec_and_indices(self, hanse, subject):
        done = hanse("explain", subject, "-o", "json")
        assert [each["name"] for each in done.data["fields"]] == [
            "network",
            "networks",
            "workloads",
            "cidr",
        ]

    def test_what_is_misspelt_is_suggested(self, hanse):
        assert 'did you mean "Network"?' in hanse("explain", "Netwrok").err
        assert 'did you mean "vlan"?' in hanse("explain", "Network.vlam").err


class TestProcess:
    """The console script itself, in a process of its own."""

    def test_it_tells_its_version(self, hanse):
        assert hanse("--version").out == f"hanse {version('hanse')}\n"

    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["trace", "--help"], []])
    def test_help_needs_no_models_planner_or_servers(self, arguments):
        heavy = {"shared.model.base", "shared.policy.compile", "aiohttp", "sqlalchemy", "networkx"}
        script = (
            "import sys; from shared.cli.main import run; run(sys.argv[1:]); "
            f"print(sorted({heavy} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.splitlines()[-1] == "[]"

    def test_a_closed_pipe_is_quiet(self, repo):
        done = subprocess.run(
            ["bash", "-c", f"{HANSE} explain -o json | head -1; exit ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        assert done.returncode in (0, 1)

    def test_completion_can_be_installed(self, tmp_path):
        environ = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
        done = subprocess.run(
            # Which shell it is for is read from whose child it is; the last word keeps bash alive.
            ["bash", "-c", f"{HANSE} --install-completion bash; exit $?"],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0
        assert any("hanse" in file.read_text() for file in tmp_path.rglob("*hanse*"))
        asked = subprocess.run(
            [HANSE],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={
                **environ,
                "_HANSE_COMPLETE": "complete_bash",
                "COMP_WORDS": "hanse va",
                "COMP_CWORD": "1",
            },
        )
        assert asked.stdout.split() == ["validate"]
