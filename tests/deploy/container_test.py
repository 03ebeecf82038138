#!/usr/bin/python3
"""The container images: what the programs need against what the Dockerfile installs, and its rules."""

import json
import os
import pathlib
import re
import stat
import subprocess
import tempfile
import unittest

import manifests

ROOT = manifests.ROOT
DOCKERFILE = ROOT / "deploy/container/Dockerfile"
PREPARE = ROOT / "deploy/container/prepare-node"
BUILD = pathlib.Path(os.environ.get("ROSTER_BUILD_DIR", "build/release"))
PROGRAMS = {"hub": ["rosterd", "roster"], "agent": ["roster-agent"]}
# In every Debian system: libc itself, and what apt cannot be without.
ESSENTIAL = {"libc6", "libgcc-s1"}


def instructions():
    """(stage, instruction, argument), continued lines joined, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    stage = None
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        word, _, argument = line.strip().partition(" ")
        if word == "FROM":
            stage = argument.split()[-1]
        yield stage, word, " ".join(argument.split())


def of_stage(stage, word):
    return [argument for s, w, argument in instructions() if (s, w) == (stage, word)]


def installed(stage):
    packages = set()
    for run in of_stage(stage, "RUN"):
        for match in re.finditer(r"apt-get install ([^&]+)", run):
            packages |= {part for part in match[1].split() if not part.startswith("-")}
    return packages


def needed_libraries(program):
    text = subprocess.run(["objdump", "-p", program], capture_output=True, text=True,
                          check=True).stdout
    return re.findall(r"NEEDED\s+(\S+)", text)


def package_of(library):
    """The Debian package with a shared library of this machine."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    path = re.search(rf"^\s*{re.escape(library)} .*=> (\S+)", listing, re.MULTILINE)[1]
    real = os.path.realpath(path)
    for name in (real, path, real.removeprefix("/usr"), "/usr" + path):
        done = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.split(":")[0]
    raise AssertionError(f"no package has {real}")


class Image(unittest.TestCase):
    def test_runtime_packages_are_what_the_programs_link(self):
        for stage, programs in PROGRAMS.items():
            libraries = {library for program in programs
                         for library in needed_libraries(BUILD / "bin" / program)}
            packages = {package_of(library) for library in libraries
                        if not library.startswith("ld-linux")}
            self.assertEqual(installed(stage), packages - ESSENTIAL | {"ca-certificates"}, stage)

    def test_what_other_containers_load_needs_libc_only(self):
        self.assertEqual(needed_libraries(BUILD / "bin/roster-authorized-keys"), [])
        self.assertEqual(set(needed_libraries(BUILD / "lib/libnss_roster.so.2")), {"libc.so.6"})

    def test_build_packages_are_those_of_the_set_up(self):
        setup = re.search(r"packages=\((.*?)\n\)", (ROOT / "script/setup").read_text(), re.DOTALL)[1]
        self.assertLessEqual(installed("build"), set(re.sub(r"#.*", "", setup).split()))

    def test_rules_of_an_image(self):
        for stage, word, argument in instructions():
            self.assertNotIn(word, {"ADD", "ENV", "VOLUME", "HEALTHCHECK"})
            if word == "RUN" and "apt-get install" in argument:
                self.assertIn("--no-install-recommends", argument)
                self.assertTrue(argument.endswith("rm -rf /var/lib/apt/lists/*"), argument)
            if word in ("ENTRYPOINT", "CMD"):
                json.loads(argument)  # the program is process 1 and gets the signals
            if word == "ARG":
                self.assertRegex(argument, r"=\S+:12(-slim)?$")
        for stage in PROGRAMS:
            self.assertEqual(of_stage(stage, "USER"), ["65532:65532"])
            self.assertEqual([copy.split()[0] for copy in of_stage(stage, "COPY")], ["--from=build"])

    def test_the_charts_commands_and_users_are_in_the_image(self):
        build = " ".join(of_stage("build", "RUN"))
        self.assertIn("ln -s roster-agent /out/agent/usr/bin/nsscache", build)
        base = of_stage("base", "RUN")[0]
        self.assertIn("useradd -u 65532 -g 65532 -G roster-keys", base)
        self.assertIn("groupadd -g 65531 roster-keys", base)
        ours = {"roster-agent", "nsscache", "prepare-node"}
        system = {"sh", "install", "chown"}  # dash and coreutils: essential in Debian
        for name in manifests.VARIANTS:
            for _, spec in manifests.pod_specs(manifests.example(name)):
                self.assertEqual(spec["securityContext"]["supplementalGroups"], [65531])
                for container in manifests.containers(spec):
                    if "command" in container:
                        self.assertIn(container["command"][0], ours | system)


class PrepareNode(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.root = pathlib.Path(self.temporary.name)
        for name in ("lib/roster/libnss_roster.so.2", "bin/roster-authorized-keys"):
            path = self.root / "usr" / name
            path.parent.mkdir(parents=True)
            path.write_text(name)
        for name in ("programs", "state"):
            (self.root / name).mkdir()

    def run_script(self, *arguments):
        return subprocess.run([PREPARE, *arguments], capture_output=True, text=True,
                              env={"PATH": "/usr/bin:/bin",
                                   "PREPARE_NODE_SOURCE": str(self.root / "usr")})

    def tree(self):
        return {str(path.relative_to(self.root)): (oct(stat.S_IMODE(path.stat().st_mode)),
                                                   path.stat().st_ino)
                for path in sorted(self.root.rglob("*"))}

    def prepare(self):
        owner = f"{os.getuid()}:{os.getgid()}"
        done = self.run_script("--programs", self.root / "programs", "--state", self.root / "state",
                               "--owner", owner)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_host_is_prepared_once_and_stays_so(self):
        self.prepare()
        before = self.tree()
        modes = {name: mode for name, (mode, _) in before.items()}
        self.assertEqual(modes["programs/lib/libnss_roster.so.2"], "0o644")
        self.assertEqual(modes["programs/bin/roster-authorized-keys"], "0o755")
        self.assertEqual(modes["state/agent"], "0o700")
        self.assertEqual(modes["state/cache"], "0o755")
        self.assertEqual(modes["state/etc"], "0o755")
        self.prepare()
        self.assertEqual(self.tree(), before)

    @unittest.skipUnless(os.geteuid() == 0, "only root can take capabilities away from root")
    def test_root_needs_no_capability_but_chown(self):
        """What the DaemonSet gives its init container; twice, as at the next start of the pod."""
        for _ in range(2):
            done = subprocess.run(
                ["setpriv", "--bounding-set=-all,+chown", PREPARE, "--programs",
                 self.root / "programs", "--state", self.root / "state", "--owner", "65532:65532"],
                capture_output=True, text=True,
                env={"PATH": "/usr/bin:/bin", "PREPARE_NODE_SOURCE": str(self.root / "usr")})
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name in ("agent", "cache", "etc"):
            self.assertEqual((self.root / "state" / name).stat().st_uid, 65532)
        self.assertEqual((self.root / "programs/bin/roster-authorized-keys").stat().st_uid, 0)

    def test_a_new_module_takes_the_old_ones_name(self):
        """Written in place it would be a bus error in every process that has it mapped."""
        self.prepare()
        module = self.root / "programs/lib/libnss_roster.so.2"
        with open(module, encoding="ascii") as mapped:
            (self.root / "usr/lib/roster/libnss_roster.so.2").write_text("new")
            self.prepare()
            self.assertEqual(mapped.read(), "lib/roster/libnss_roster.so.2")
        self.assertEqual(module.read_text(), "new")

    def test_wrong_use_is_told(self):
        for arguments in ([], ["--programs"], ["--what", "x"], ["--state", "/x", "--owner", "1:1"],
                          ["--programs", self.root / "programs", "--state", self.root / "state"]):
            done = self.run_script(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn("prepare-node --programs DIR", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=1)
