"""Settings, and the version of Ray."""

import subprocess
import sys

import pytest

from runnerstone import flow
from runnerstone.errors import TaskRunnerStartError
from runnerstone_ray import RayTaskRunner
from runnerstone_ray.versions import check_version


@pytest.mark.parametrize("address", ["ray://host:10001", "http://127.0.0.1:8265"])
def test_address_of_something_else_is_refused(address):
    with pytest.raises(ValueError, match="which cannot run flows; give the cluster's own"):
        RayTaskRunner(address=address)


@pytest.mark.parametrize("name", ["address", "ignore_reinit_error", "local_mode"])
def test_option_that_the_task_runner_decides_is_refused(name):
    with pytest.raises(ValueError, match=f"init_kwargs has {name}, which the task runner decides"):
        RayTaskRunner(init_kwargs={name: "1"})


def test_timeout_has_to_be_positive():
    with pytest.raises(ValueError, match="start_timeout_seconds"):
        RayTaskRunner(start_timeout_seconds=0)


def test_settings_are_taken_from_the_command_line(tmp_path):
    (tmp_path / "flows.py").write_text("from runnerstone import flow\n\n@flow\ndef empty(): ...\n")
    settings = ["--set", 'init_kwargs={"num_cpus": "many"}', "--set", "start_timeout_seconds=2.5"]

    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "runnerstone",
            "run",
            "flows.py:empty",
            "--runner",
            "ray",
            *settings,
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert ended.returncode != 0
    assert "many" in ended.stderr


@pytest.mark.parametrize("version", ["2.59.1", "3.0.0"])
def test_ray_of_another_version_is_refused(version):
    with pytest.raises(
        TaskRunnerStartError, match=rf"works with ray.*2\.60.*, and ray {version} is"
    ):
        check_version(version)


def test_installed_ray_fits():
    check_version()


def test_plugin_is_imported_without_ray():
    code = "import sys, runnerstone_ray; print('ray' in sys.modules)"

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert printed.strip() == "False"


def test_flow_without_tasks_on_an_impossible_address_is_crashed_and_not_hung():
    @flow(task_runner=RayTaskRunner(address="no-such-host.invalid:1", start_timeout_seconds=0.5))
    def empty() -> None: ...

    record = empty.run()

    assert record.state.is_crashed()
    assert "no Ray cluster answers at no-such-host.invalid:1" in str(record.state.message)


def test_secrets_are_not_shown():
    assert "s3cret" not in repr(RayTaskRunner(init_kwargs={"_redis_password": "s3cret"}))


def test_address_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match="address is 6379, and has to be text"):
        RayTaskRunner(address=6379)
