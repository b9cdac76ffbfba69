"""The deployment, as far as it can be checked without a container engine: compose file, Dockerfiles, `.env.example`."""

import inspect
import itertools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from shared import settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = ("Dockerfile.gateway", "Dockerfile.worker")
DIFFERENT_IN_COMPOSE = {
    "AUTH",
    "POSTGRES_PASSWORD",
    "POSTGRES_HOST",
    "REDIS_URL",
}  # its own stores, and a password for them


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def compose_variables() -> dict[str, str]:
    """Return what the compose file takes from `.env`: name and default."""
    return dict(re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text()))


def stages(dockerfile: str) -> list[list[list[str]]]:
    """Return the stages, each a list of [INSTRUCTION, rest], each beginning with its FROM."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    found: list[list[list[str]]] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            instruction = line.split(maxsplit=1)
            if instruction[0] == "FROM":
                found.append([])
            found[-1].append(instruction)
    return found


def last(stage: list[list[str]], instruction: str) -> str:
    return next(rest for name, rest in reversed(stage) if name == instruction)


def copied_sources(dockerfile: str) -> list[str]:
    copies = [rest.split() for stage in stages(dockerfile) for name, rest in stage if name == "COPY"]
    return [source for copy in copies if not copy[0].startswith("--from=") for source in copy[:-1]]


def settings_fields() -> dict[str, FieldInfo]:
    """Return every field of every settings class, under the name of its environment variable."""
    classes = [c for _, c in inspect.getmembers(settings, inspect.isclass) if issubclass(c, BaseSettings)]
    return {
        f"{c.model_config.get('env_prefix', '')}{field.validation_alias or name}".upper(): field
        for c in classes
        for name, field in c.model_fields.items()
    }


def env_example() -> dict[str, str]:
    lines = re.findall(r"^# ([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(dict(lines)) == len(lines), "a setting is listed twice"
    return dict(lines)


def test_compose_file__fits_the_compose_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_compose__worker_can_be_scaled() -> None:
    worker = compose()["services"]["worker"]
    assert {"container_name", "ports"}.isdisjoint(worker)
    assert "WORKER_NAME" not in worker["environment"]


def test_compose__only_the_gateway_can_be_reached__and_from_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert ports.pop("prometheus") == ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"]
    assert ports.pop("grafana") == ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"]
    assert ports == {"gateway": ["127.0.0.1:${PORT:-8000}:8000"]}


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_compose__every_service_has_its_limits(name: str) -> None:
    service = compose()["services"][name]
    limits = {"healthcheck", "mem_limit", "stop_grace_period", "restart", "logging"}
    assert limits <= set(service)
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_compose__monitoring_is_asked_for_and_its_files_are_there() -> None:
    services = compose()["services"]
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert profiles == {"prometheus": ["monitoring"], "grafana": ["monitoring"]}
    for name in profiles:
        mounted = [volume.split(":")[0] for volume in services[name]["volumes"]]
        assert all((ROOT / path).exists() for path in mounted if path.startswith("."))
        assert re.search(r":v?\d+", services[name]["image"])


def test_compose__metrics_are_served_to_the_other_containers_and_to_nobody_else() -> None:
    scraped = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())["scrape_configs"]
    for config in scraped:
        [found] = config["dns_sd_configs"]
        service = compose()["services"][found["names"][0]]
        assert config["job_name"] == found["names"][0]
        assert service["environment"]["METRICS_PORT"] == found["port"]
        assert not any(port.endswith(f":{found['port']}") for port in service.get("ports", []))


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_compose__service_starts_after_healthy_stores(name: str) -> None:
    dependencies = compose()["services"][name]["depends_on"]
    assert dependencies["postgres"] == dependencies["valkey"] == {"condition": "service_healthy"}


def test_compose__gateway_has_time_to_drain() -> None:
    grace_seconds = float(compose()["services"]["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace_seconds > settings.GatewaySettings.model_fields["drain_seconds"].default


def test_compose__redis_keeps_every_message() -> None:
    command = compose()["services"]["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "everysec")
    assert options["--stream-node-max-bytes"] == "512"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_dockerfile__is_the_one_that_compose_builds(dockerfile: str) -> None:
    assert compose()["services"][dockerfile.removeprefix("Dockerfile.")]["build"]["dockerfile"] == dockerfile


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_dockerfile__every_copied_path_exists_and_reaches_the_builder(dockerfile: str) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [source.rstrip("/") for source in copied_sources(dockerfile)]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert set(sources) <= sent


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_dockerfile__copies_only_packages_that_are_installed(dockerfile: str) -> None:
    # Found, not listed: an image holds some of the packages, and a list would ask for all of them.
    included = pyproject()["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {source.rstrip("/") for source in copied_sources(dockerfile) if source.endswith("/")}
    assert folders <= {pattern.rstrip("*") for pattern in included}
    assert "devstack" not in folders


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_dockerfile__image_runs_its_package_as_an_ordinary_user_and_gets_signals(dockerfile: str) -> None:
    image = stages(dockerfile)[-1]
    assert image[-1][0] == "CMD"
    # A JSON array: a shell in between would keep SIGTERM from Python.
    assert json.loads(image[-1][1]) == ["python", "-m", dockerfile.removeprefix("Dockerfile.")]
    assert int(last(image, "USER")) > 0


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_dockerfile__image_has_a_python_that_the_project_supports(dockerfile: str) -> None:
    requires = pyproject()["project"]["requires-python"]
    bases = {last(stage, "FROM").split()[0] for stage in stages(dockerfile)}
    assert len(bases) == 1, "a virtual environment works only with the Python that made it"
    version = re.fullmatch(r"python:(\d+\.\d+)-slim", bases.pop())
    assert version
    assert SpecifierSet(requires).contains(version[1])


def test_dockerfiles__share_the_layer_of_the_dependencies() -> None:
    gateway, worker = (stages(dockerfile)[0] for dockerfile in DOCKERFILES)
    same = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(gateway, worker, strict=True)))
    assert ["RUN", "pip --python /venv/bin/python install -c constraints.txt ."] in [step for step, _ in same]


def test_env_example__lists_every_setting_and_no_other() -> None:
    assert set(env_example()) == set(settings_fields()) | set(compose_variables())


def test_env_example__shows_the_defaults() -> None:
    fields = settings_fields()
    shown = {name: value for name, value in env_example().items() if name in fields}
    defaults = {}
    for name in shown:
        default = "" if fields[name].default_factory else fields[name].default
        defaults[name] = default.get_secret_value() if isinstance(default, SecretStr) else str(default)
    assert shown == defaults


def test_env_example__compose_has_the_same_defaults() -> None:
    variables = {name: value for name, value in compose_variables().items() if name not in DIFFERENT_IN_COMPOSE}
    assert variables == {name: env_example()[name] for name in variables}
