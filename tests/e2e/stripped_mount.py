"""Mounts that docker requests.

docker remembers in which repository a layer is, and requests a mount from there for every caller,
also for one that did not push the layer.
"""

import contextlib

from binary import stand_ins_binary
from clients import Docker
from extras import check_mounted
from report import Skip, check
from servers import Gate, gitlab_provider
from stand_ins import StandIns

SOURCE = "demo/mount-source"


def docker_asks_for_mounts(run):
    folder = run.machine.fresh("stripped-mount")
    with contextlib.ExitStack() as servers:
        gate = owner = None
        with run.report.cell("mounts", "start"):
            gitlab = servers.enter_context(StandIns(stand_ins_binary(), "", folder))
            gate = servers.enter_context(Gate(
                "mounts", run.moorgate, folder, run.tls, run.upstream, gitlab_provider(gitlab.gitlab)))
            owner = gitlab.credential("the owner of the layer", "gitlab_read_write")
            neighbour = gitlab.credential("a user of another group", "gitlab_of_another_group")
        if owner is None:
            return
        servers.enter_context(run.report.watching(gate))
        source = None
        with run.report.cell("docker", str(owner), "gets a mount"):
            session = logged_in(run, gate, owner)
            image = session.image(SOURCE)
            session.make(image)
            session.push(image)
            source = image
            mark, registry_said = gate.log_size(), registry_log(run)
            push_as(session, source, "demo/mount-target")
            check_mounted(gate, mark, "demo/mount-target")
            check(f"from={SOURCE}" in registry_said(), "the registry received no mount")
        with run.report.cell("docker", str(neighbour), "gets no mount, and uploads the layer"):
            session = logged_in(run, gate, neighbour)
            check(source, "there is no layer to mount")
            mark, registry_said, said = gate.log_size(), registry_log(run), len(run.dockerd.said())
            push_as(session, source, "neighbours/mount-target")
            # docker may name either repository of the owner.
            check(f"from {session.host}/demo/" in run.dockerd.said()[said:],
                  "docker requested no mount")
            started = [line["status"] for line in gate.logged_since(mark) if line["operation"] == "upload_start"]
            check(started and set(started) == {202},
                  f"the uploads started with {started}, not with 202")
            check("from=" not in registry_said(), "the registry received a mount")
            check("neighbours/mount-target/blobs/uploads" in registry_said(),
                  "the registry's log has no upload")


def logged_in(run, gate, credential):
    session = Docker(run.machine, gate, credential.word)
    session.require()
    session.login(credential)
    return session


def push_as(session, source, repository):
    image = session.image(repository)
    session.copy_name(source, image)
    session.push(image)
    session.forget(image)


def registry_log(run):
    """Returns a function that returns what the registry has logged since this call."""
    if not run.distribution:
        raise Skip("the demo's registry keeps no log")
    mark = len(run.distribution.said())
    return lambda: run.distribution.said()[mark:]
