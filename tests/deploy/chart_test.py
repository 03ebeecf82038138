#!/usr/bin/python3
"""The chart and the kustomizations: rendered, held against the API's types, and what matters in them.

Usage: chart_test.py            runs the tests
       chart_test.py --write    renders deploy/kustomize/*/roster.yaml anew
       chart_test.py --helm     compares the rendering with that of the Helm on PATH
"""

import ast
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest

import yaml

import manifests
from manifests import (CHART, EXAMPLES, KUSTOMIZE, RenderError, VARIANTS, check_object, containers,
                       example, objects, one, pod_specs, render_text, without_helm)

ROOT_CONTAINERS = {"prepare-node": ["CHOWN"]}
YOURS = {"slurm"}  # containers of the sidecar example that are the site's own
BIN = pathlib.Path(os.environ.get("ROSTER_BUILD_DIR", "build/release")) / "bin"


def kubectl_kustomize(directory):
    done = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def every_set():
    """(name, objects): each example as rendered, and each kustomization as built."""
    for name in VARIANTS:
        yield f"helm {name}", example(name)
    for directory in sorted(KUSTOMIZE.iterdir()):
        yield f"kustomize {directory.name}", kubectl_kustomize(directory)


class Everything(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sets = list(every_set())

    def each_container(self):
        for name, items in self.sets:
            for item, spec in pod_specs(items):
                for container in containers(spec):
                    yield f"{name}: {item['kind']} {container['name']}", spec, container

    def test_objects_fit_the_types_of_the_api(self):
        for name, items in self.sets:
            self.assertTrue(items, name)
            for item in items:
                self.assertEqual(check_object(item), [], name)

    def test_the_check_finds_what_is_wrong(self):
        """A check that finds nothing protects nothing."""
        good = one(example("hub"), "StatefulSet")
        for damage in (lambda o: o["spec"].update(replica=1),
                       lambda o: o["spec"].update(replicas="1"),
                       lambda o: o["spec"].pop("selector"),
                       lambda o: o["spec"]["template"]["spec"]["containers"][0].pop("name"),
                       lambda o: o["spec"]["template"]["spec"].update(hostIPC="no")):
            bad = copy.deepcopy(good)
            damage(bad)
            self.assertNotEqual(check_object(bad), [])

    def test_names_are_unique_and_references_resolve(self):
        for name, items in self.sets:
            keys = [(item["kind"], item["metadata"]["name"]) for item in items]
            self.assertEqual(len(keys), len(set(keys)), name)
            for item, spec in pod_specs(items):
                volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
                claims = {claim["metadata"]["name"]
                          for claim in item["spec"].get("volumeClaimTemplates", [])}
                for container in containers(spec):
                    for mount in container.get("volumeMounts", []):
                        self.assertIn(mount["name"], volumes.keys() | claims, name)
                if "serviceAccountName" in spec:
                    self.assertIn(("ServiceAccount", spec["serviceAccountName"]), keys, name)

    def test_containers_run_with_the_least(self):
        for where, spec, container in self.each_container():
            if container["name"] in YOURS:
                continue
            with self.subTest(where):
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                context = spec["securityContext"] | container["securityContext"]
                self.assertIs(context["allowPrivilegeEscalation"], False)
                self.assertIs(context["readOnlyRootFilesystem"], True)
                self.assertEqual(context["capabilities"]["drop"], ["ALL"])
                self.assertNotIn("privileged", context)
                added = context["capabilities"].get("add", [])
                if context["runAsUser"] == 0:
                    self.assertEqual(added, ROOT_CONTAINERS[container["name"]])
                else:
                    self.assertIs(context["runAsNonRoot"], True)
                    self.assertEqual(added, [])
                for field in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertNotIn(field, spec)

    def test_containers_have_limits_and_a_version(self):
        for where, _, container in self.each_container():
            with self.subTest(where):
                for kind in ("requests", "limits"):
                    self.assertEqual(set(container["resources"][kind]), {"cpu", "memory"})
                self.assertRegex(container["image"], r"(:[0-9]|@sha256:)")

    def test_no_secret_stands_in_an_object(self):
        for name, items in self.sets:
            self.assertNotIn("Secret", [item["kind"] for item in items], name)
            for text in ("rst_", "rsj_", "PRIVATE KEY"):
                self.assertNotIn(text, yaml.safe_dump(items), name)
        for where, spec, container in self.each_container():
            for variable in container.get("env", []):
                self.assertNotIn("value", variable, where)
            for argument in container.get("args", []) + container.get("command", []):
                self.assertNotRegex(argument, r"(?i)(token|password|secret)=", where)
            for volume in spec.get("volumes", []):
                if "secret" in volume:
                    self.assertEqual(volume["secret"]["defaultMode"], 0o440, where)

    def test_only_publishers_get_a_service_account_token(self):
        for name, items in self.sets:
            for account in (item for item in items if item["kind"] == "ServiceAccount"):
                self.assertIs(account["automountServiceAccountToken"], False)
            for item, spec in pod_specs(items):
                publishes = any("--publish" in c.get("args", []) + c.get("command", [])
                                for c in containers(spec))
                self.assertIs(spec["automountServiceAccountToken"], publishes, name)

    def test_roles_name_the_secrets_and_nothing_else(self):
        seen = 0
        for name, items in self.sets:
            self.assertFalse([i for i in items if i["kind"].startswith("ClusterRole")], name)
            for role in (item for item in items if item["kind"] == "Role"):
                seen += 1
                self.assertEqual(role["rules"], [{
                    "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch", "create"],
                    "resourceNames": [f"slurm-nsscache-{m}"
                                      for m in ("passwd", "group", "shadow", "sshkey")]}])
                binding = one(items, "RoleBinding")
                self.assertEqual(binding["subjects"][0]["namespace"],
                                 "tenant-slurm" if "sunk" in name else "slurm")
        self.assertGreaterEqual(seen, 5)


class Parts(unittest.TestCase):
    def test_the_hub_is_probed_and_keeps_its_data(self):
        for name in ("hub", "everything"):
            hub = one(example(name), "StatefulSet")
            self.assertEqual(hub["spec"]["replicas"], 1)
            container = hub["spec"]["template"]["spec"]["containers"][0]
            paths = {probe: container[probe]["httpGet"]["path"]
                     for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
            self.assertEqual(paths, {"startupProbe": "/healthz", "livenessProbe": "/healthz",
                                     "readinessProbe": "/readyz"})
            self.assertEqual(container["readinessProbe"]["httpGet"]["scheme"], "HTTPS")
            self.assertEqual(hub["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data")

    def test_a_certificate_of_the_site_is_served(self):
        items = example("everything")
        config = next(i for i in items if i["kind"] == "ConfigMap" and "rosterd.toml" in i["data"])
        self.assertEqual(tomllib.loads(config["data"]["rosterd.toml"])["tls"],
                         {"certificate": "/etc/roster/tls/tls.crt", "key": "/etc/roster/tls/tls.key"})
        # It does not have the Service's name, so agents go by the name that it has.
        agent = next(i for i in items if i["kind"] == "ConfigMap" and "agent.toml" in i["data"])
        self.assertEqual(tomllib.loads(agent["data"]["agent.toml"])["url"], "https://roster.example.org")
        spec = one(items, "StatefulSet")["spec"]["template"]["spec"]
        self.assertIn({"name": "tls", "secret": {"secretName": "roster-tls", "defaultMode": 0o440}},
                      spec["volumes"])

    def test_the_first_start_makes_a_hub_and_the_second_changes_nothing(self):
        container = one(example("hub"), "StatefulSet")["spec"]["template"]["spec"]["initContainers"][0]
        with tempfile.TemporaryDirectory() as directory:
            command = [part.replace("/var/lib/rosterd", directory)
                       for part in container["command"] + container["args"]]
            environment = {"PATH": f"{BIN}:/usr/bin:/bin"}
            first = subprocess.run(command, env=environment, capture_output=True, text=True)
            self.assertEqual(first.returncode, 0, first.stderr)
            self.assertEqual(first.stdout, "")
            token = pathlib.Path(directory, "operator.token")
            self.assertEqual(token.stat().st_mode & 0o777, 0o600)
            text = token.read_text()
            self.assertIn("rst_", text)
            self.assertNotIn("rst_", first.stderr)
            subprocess.run(command, env=environment, check=True)
            self.assertEqual(token.read_text(), text)

    def test_configurations_are_what_the_programs_read(self):
        for name in VARIANTS:
            for item in example(name):
                for key, text in item.get("data", {}).items():
                    if key.endswith(".toml"):
                        tomllib.loads(text)
                    if key == "agent.toml":
                        self.check_agent(text)
        for item in objects((KUSTOMIZE / "sidecar/sidecar.yaml").read_text()):
            if "agent.toml" in item.get("data", {}):
                self.check_agent(item["data"]["agent.toml"])
        for item in objects((KUSTOMIZE / "sync/cronjob.yaml").read_text()):
            if "sync.toml" in item.get("data", {}):
                self.check_sync(item["data"]["sync.toml"])

    def check_sync(self, text):
        """Unknown keys are errors; what is left is that nobody answers at the example's names."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text.replace("example.org:8443", "invalid:1").replace("example.com", "invalid"))
            file.flush()
            tokens = {"ROSTER_SYNC_SOURCE_TOKEN": "x", "ROSTER_SYNC_TOKEN": "x"}
            done = subprocess.run([BIN / "roster", "sync", "--config", file.name, "--dry-run"],
                                  env=os.environ | tokens, capture_output=True, text=True)
        self.assertEqual(done.returncode, 3, done.stderr)

    def check_agent(self, text):
        """Unknown keys are errors; what is left is that no agent runs here."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            done = subprocess.run([BIN / "roster-agent", "status", "--config", file.name,
                                   "--socket", "/nonexistent/agent.sock"],
                                  capture_output=True, text=True)
        self.assertEqual(done.returncode, 3, done.stderr)

    def test_the_agent_keeps_the_cache_on_the_host(self):
        daemon = one(example("agents"), "DaemonSet")
        spec = daemon["spec"]["template"]["spec"]
        host = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
        self.assertEqual(host, {"state": "/var/lib/roster", "programs": "/opt/roster"})
        self.assertEqual(spec["tolerations"], [{"operator": "Exists"}])
        agent = spec["containers"][0]
        self.assertIn("$(NODE_NAME)", agent["args"])
        self.assertIn("readinessProbe", agent)
        self.assertNotIn("livenessProbe", agent)
        self.assertEqual(spec["initContainers"][0]["command"][0], "prepare-node")
        # Only the init container sees the programs' directory, which is root's.
        self.assertNotIn("programs", [mount["name"] for mount in agent["volumeMounts"]])

    def test_a_join_token_is_its_owners_alone(self):
        for name, kind in (("agents", "DaemonSet"), ("publisher", "Deployment")):
            spec = one(example(name), kind)["spec"]["template"]["spec"]
            init = spec["initContainers"][-1]
            self.assertEqual(init["command"][:3], ["install", "-m", "0400"])
            join = next(v for v in spec["volumes"] if v["name"] == "join")
            self.assertEqual(join["emptyDir"]["medium"], "Memory")
            for container in spec["containers"]:
                self.assertNotIn("join-secret", [m["name"] for m in container["volumeMounts"]])

    def test_every_kind_of_slurm_pod_resolves_people(self):
        values = yaml.safe_load((EXAMPLES / "slurm-operator.yaml").read_text())
        daemon = one(example("agents"), "DaemonSet")["spec"]["template"]["spec"]
        host = {v["name"]: v["hostPath"]["path"] for v in daemon["volumes"] if "hostPath" in v}
        nsswitch = [item["metadata"]["name"] for item in example("agents")
                    if item["kind"] == "ConfigMap" and "nsswitch.conf" in item["data"]]
        kinds = {"controller": ("slurmctld", values["controller"]),
                 "accounting": ("slurmdbd", values["accounting"]),
                 "restapi": ("slurmrestd", values["restapi"]),
                 "nodesets": ("slurmd", values["nodesets"]["slinky"]),
                 "loginsets": ("login", values["loginsets"]["slinky"])}
        for name, (container, part) in kinds.items():
            with self.subTest(name):
                volumes = {volume["name"]: volume for volume in part["podSpec"]["volumes"]}
                mounts = {m["mountPath"]: m for m in part[container]["volumeMounts"]}
                self.assertTrue(all(mount["readOnly"] for mount in mounts.values()))
                sources = {path: volumes[mount["name"]] for path, mount in mounts.items()}
                self.assertEqual(sources["/var/lib/roster/cache"]["hostPath"],
                                 {"path": f"{host['state']}/cache", "type": "Directory"})
                self.assertEqual(
                    sources["/usr/lib/x86_64-linux-gnu/libnss_roster.so.2"]["hostPath"],
                    {"path": f"{host['programs']}/lib/libnss_roster.so.2", "type": "File"})
                self.assertEqual([sources["/etc/nsswitch.conf"]["configMap"]["name"]], nsswitch)
                self.assertEqual(manifests.check_type(part["podSpec"]["volumes"], "list[V1Volume]", ""), [])
        self.assertIn("AuthorizedKeysCommand /usr/bin/roster-authorized-keys %u %U %f",
                      values["loginsets"]["slinky"]["extraSshdConfig"])
        self.assertIn("/usr/bin/roster-authorized-keys",
                      [m["mountPath"] for m in values["loginsets"]["slinky"]["login"]["volumeMounts"]])

    def test_local_accounts_come_first(self):
        for item in example("agents"):
            if item["kind"] == "ConfigMap" and "nsswitch.conf" in item["data"]:
                for line in item["data"]["nsswitch.conf"].splitlines():
                    if line.split(":")[0] in ("passwd", "group", "shadow"):
                        self.assertEqual(line.split(":")[1].split(), ["files", "roster"])

    def test_the_cronjob_is_nsscaches_place(self):
        items = example("sunk")
        job = one(items, "CronJob")
        self.assertEqual(job["spec"]["schedule"], "* * * * *")
        self.assertEqual(job["spec"]["concurrencyPolicy"], "Forbid")
        spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        self.assertEqual(spec["containers"][0]["env"], [
            {"name": "NSSCACHE_SCIM_AUTH_TOKEN",
             "valueFrom": {"secretKeyRef": {"name": "nsscache-scim-secret",
                                            "key": "nsscache-scim-auth-token"}}}])
        config = next(i for i in items if i["metadata"]["name"] == "nsscache-conf")
        self.assertEqual(set(config["data"]), {"nsscache.conf", "nsswitch.conf"})
        # Where it writes is where a volume is.
        mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        for key in ("files_dir", "timestamp_dir", "lockfile"):
            path = next(line.split("=")[1].strip()
                        for line in config["data"]["nsscache.conf"].splitlines()
                        if line.startswith(key + " "))
            self.assertTrue(any(path == m or path.startswith(m + "/") for m in mounts), key)
        files = one(example("everything"), "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        self.assertEqual(files["containers"][0]["command"],
                         ["nsscache", "--config-file", "/etc/nsscache/nsscache.conf", "update"])

    def test_what_is_missing_is_said(self):
        hub = yaml.safe_load((EXAMPLES / "hub.yaml").read_text())
        for values, sentence in (
                ([{"hub": {"enabled": False}}], "agent.url is required"),
                ([hub, {"hub": {"org": ""}}], "hub.org is required"),
                ([hub, {"hub": {"publicUrl": ""}}], "hub.publicUrl is required"),
                ([hub, {"agent": {"enabled": True}}], "agent.joinToken.existingSecret is required"),
                ([hub, {"cronJob": {"enabled": True}}], "cronJob.config.nsscacheConf is required"),
                ([hub, {"cronJob": {"enabled": True, "output": "both"}}], "secrets or files")):
            with self.assertRaisesRegex(RenderError, sentence):
                render_text(values)


    def test_values_have_a_schema(self):
        """Helm refuses what it does not know: a mistyped key would otherwise be a silent default."""
        def keys(schema):
            inner = schema.get("properties", {})
            assert not inner or schema["additionalProperties"] is False
            return {name: keys(item) for name, item in inner.items()}

        def names(value, known):
            return {key: names(item, known[key]) if isinstance(item, dict) and known[key] else {}
                    for key, item in value.items()}
        known = keys(json.loads((CHART / "values.schema.json").read_text()))
        known.pop("global")
        self.assertEqual(names(yaml.safe_load((CHART / "values.yaml").read_text()), known), known)

    def test_without_a_certificate_agents_go_by_the_service(self):
        hub = yaml.safe_load((EXAMPLES / "hub.yaml").read_text())
        text = render_text([hub, {"agent": {"enabled": True, "joinToken": {"existingSecret": "j"}}}])
        self.assertIn('url = "https://roster-hub.slurm.svc:8443"', text)
        self.assertIn("--dns=roster-hub.slurm.svc", text)


class AuthorizedKeys(unittest.TestCase):
    """sshd's command over sshkey.cache, as the ConfigMap carries it."""

    KEYS = ["ssh-ed25519 AAAA a@x", "ssh-rsa BBBB it's", 'ssh-rsa CCCC "q" \\ end']

    def keys(self, user, lines):
        items = example("sunk")
        script = next(i["data"]["authorized-keys-command"] for i in items
                      if "authorized-keys-command" in i.get("data", {}))
        with tempfile.TemporaryDirectory() as directory:
            program = pathlib.Path(directory, "command")
            program.write_text(script)
            program.chmod(0o555)
            cache = pathlib.Path(directory, "sshkey.cache")
            if lines is not None:
                cache.write_text("".join(line + "\n" for line in lines))
            done = subprocess.run([program, user, cache], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return done.stdout.splitlines()

    def test_both_forms_are_read(self):
        lines = ["bob:ssh-rsa X", f"alice:{self.KEYS!r}", "carol:", "bob:ssh-rsa Y:z"]
        self.assertEqual(ast.literal_eval(repr(self.KEYS)), self.KEYS)
        self.assertEqual(self.keys("alice", lines), self.KEYS)
        self.assertEqual(self.keys("bob", lines), ["ssh-rsa X", "ssh-rsa Y:z"])
        self.assertEqual(self.keys("carol", lines), [])

    def test_only_the_user_that_was_asked_for(self):
        lines = ["alice:ssh-rsa X", "a.ice:ssh-rsa Y", "bob:alice:ssh-rsa Z"]
        for user in ("ali", "a.ice.", ".*", "", "bob:alice", "alice:ssh-rsa X"):
            self.assertEqual(self.keys(user, lines), [], user)
        self.assertEqual(self.keys("a.ice", lines), ["ssh-rsa Y"])

    def test_no_cache_is_no_keys(self):
        self.assertEqual(self.keys("alice", None), [])


class Kustomize(unittest.TestCase):
    def test_they_are_what_the_chart_renders(self):
        for name, (namespace, directory) in VARIANTS.items():
            if directory:
                text = without_helm(render_text([EXAMPLES / f"{name}.yaml"], namespace))
                self.assertEqual((KUSTOMIZE / directory / "roster.yaml").read_text(), text,
                                 "run tests/deploy/chart_test.py --write")

    def test_an_overlay_changes_namespace_and_image(self):
        with tempfile.TemporaryDirectory() as directory:
            copy_of = pathlib.Path(directory, "agent")
            shutil.copytree(KUSTOMIZE / "agent", copy_of)
            file = copy_of / "kustomization.yaml"
            file.write_text(file.read_text().replace("namespace: slurm", "namespace: hpc")
                            .replace('newTag: "0.1.0"', 'newTag: "0.2.0"'))
            for item in kubectl_kustomize(copy_of):
                self.assertEqual(item["metadata"]["namespace"], "hpc")
            daemon = one(kubectl_kustomize(copy_of), "DaemonSet")
            for container in containers(daemon["spec"]["template"]["spec"]):
                self.assertTrue(container["image"].endswith("/agent:0.2.0"))


def compare_with_helm():
    """The renderer of these tests against the real one, which no package of the system has: by hand."""
    def key(item):
        return item["kind"], item["metadata"]["name"]
    for name, (namespace, _) in VARIANTS.items():
        values = ["--kube-version", "1.30.0", "-f", EXAMPLES / f"{name}.yaml"]
        text = subprocess.run(["helm", "template", "roster", CHART, "-n", namespace, *values],
                              stdout=subprocess.PIPE, text=True, check=True).stdout
        if sorted(objects(text), key=key) != sorted(example(name), key=key):
            sys.exit(f"{name}: Helm renders other objects")
        subprocess.run(["helm", "lint", "--strict", CHART, *values], check=True)
        print(f"{name}: the same")


def write():
    for name, (namespace, directory) in VARIANTS.items():
        if directory:
            text = without_helm(render_text([EXAMPLES / f"{name}.yaml"], namespace))
            (KUSTOMIZE / directory / "roster.yaml").write_text(text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    elif sys.argv[1:] == ["--helm"]:
        compare_with_helm()
    else:
        unittest.main(verbosity=1)
