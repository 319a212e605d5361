// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

const deployed = "../../examples/deploy/"

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unit gives the last value of each setting of a systemd unit.
func unit(t *testing.T) map[string]string {
	t.Helper()
	settings := map[string]string{}
	for line := range strings.Lines(readFile(t, deployed+"systemd/rounds.service")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] = value
		}
	}
	return settings
}

// instructions gives the values of an instruction of the Dockerfile, in order.
func instructions(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^`+name+` (.*)$`).FindAllStringSubmatch(readFile(t, deployed+"docker/Dockerfile"), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return found
}

func fromYAML(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

type mount struct {
	Name      string
	MountPath string `yaml:"mountPath"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

type container struct {
	Args  []string
	Env   []struct{ Name, Value string }
	Ports []struct {
		Name          string
		ContainerPort string `yaml:"containerPort"`
	}
	VolumeMounts    []mount `yaml:"volumeMounts"`
	StartupProbe    probe   `yaml:"startupProbe"`
	LivenessProbe   probe   `yaml:"livenessProbe"`
	ReadinessProbe  probe   `yaml:"readinessProbe"`
	SecurityContext struct {
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
	} `yaml:"securityContext"`
}

type manifest struct {
	Kind       string
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		Replicas int
		Template struct {
			Spec struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []container
				Volumes                       []struct{ Name string }
			}
		}
		VolumeClaimTemplates []struct {
			Metadata struct{ Name string }
			Spec     struct {
				AccessModes []string `yaml:"accessModes"`
			}
		} `yaml:"volumeClaimTemplates"`
	}
}

func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	byKind := map[string]manifest{}
	d := yaml.NewDecoder(strings.NewReader(readFile(t, deployed+"kubernetes/rounds.yaml")))
	for {
		var m manifest
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF):
			return byKind
		case err != nil:
			t.Fatal(err)
		}
		byKind[m.Kind] = m
	}
}

// runDeployed runs the command lines of examples/deploy, in other directories, and stops them as their supervisors do.
func runDeployed(t *testing.T, _ string) {
	array := func(text string) (words []string) {
		if err := json.Unmarshal([]byte(text), &words); err != nil {
			t.Fatal(err)
		}
		return words
	}
	seconds := func(text string) time.Duration {
		d, err := time.ParseDuration(strings.TrimSuffix(text, "s") + "s")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	service := unit(t)
	systemd := strings.Fields(service["ExecStart"])
	docker := slices.Concat(array(instructions(t, "ENTRYPOINT")[0]), array(instructions(t, "CMD")[0]))
	var compose struct {
		Services map[string]struct {
			StopGracePeriod string `yaml:"stop_grace_period"`
		}
	}
	fromYAML(t, readFile(t, deployed+"docker/compose.yaml"), &compose)
	set := manifests(t)["StatefulSet"].Spec
	pod := set.Template.Spec
	for name, c := range map[string]struct {
		line []string
		stop time.Duration // until SIGKILL
	}{
		"systemd":    {systemd, seconds(service["TimeoutStopSec"])},
		"docker":     {docker, seconds(compose.Services["rounds"].StopGracePeriod)},
		"kubernetes": {append(docker[:1:1], pod.Containers[0].Args...), time.Duration(pod.TerminationGracePeriodSeconds) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.line[0] != "/usr/local/bin/rounds" || c.line[len(c.line)-1] != "/etc/rounds" {
				t.Fatalf("the command line is %q", c.line)
			}
			option := func(flag string) *string {
				at := slices.Index(c.line, flag)
				if at < 0 {
					t.Fatalf("no %s in %q", flag, c.line)
				}
				return &c.line[at+1]
			}
			grace := seconds(*option("--grace"))
			if c.stop < grace+10*time.Second {
				t.Errorf("it is killed after %v, and deliveries may end within %v", c.stop, grace)
			}
			if state := option("--state"); !strings.HasPrefix(*state, "/var/lib/rounds") {
				t.Errorf("the state is in %s, which is no volume", *state)
			} else {
				*state = filepath.Join(t.TempDir(), "state")
			}
			clinic := newClinic(t, sampleehr.Options{}, receiver.Options{})
			c.line[len(c.line)-1] = write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
			p := start(t, clinic.env(), c.line[1:]...)
			p.eventually(30*time.Second, "polled", func() bool { return clinic.polls() > 0 })
			if code := p.stop(); code != 0 {
				t.Errorf("exit code %d after SIGTERM", code)
			}
		})
	}
}

// TestTheManifestsHangTogether: one replica with a state of its own, the configuration is valid with the secrets that are
// mounted where it looks for them, and the probes ask where something listens.
func TestTheManifestsHangTogether(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	spec := all["StatefulSet"].Spec
	pod, claim := spec.Template.Spec, spec.VolumeClaimTemplates[0]
	c := pod.Containers[0]
	if spec.Replicas != 1 || !slices.Equal(claim.Spec.AccessModes, []string{"ReadWriteOncePod"}) {
		t.Errorf("%d replicas, access modes %v", spec.Replicas, claim.Spec.AccessModes)
	}
	if e := c.SecurityContext.AllowPrivilegeEscalation; !c.SecurityContext.ReadOnlyRootFilesystem || e == nil || *e {
		t.Error("the container can write its root, or gain privileges")
	}
	mounted := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounted[m.MountPath] = m.Name
	}
	volumes := []string{claim.Metadata.Name}
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
	}
	for path, name := range map[string]string{
		"/var/lib/rounds": claim.Metadata.Name, "/etc/rounds": "config", "/run/secrets": "secrets", "/tmp": "tmp",
	} {
		if mounted[path] != name || !slices.Contains(volumes, name) {
			t.Errorf("at %s is %q", path, mounted[path])
		}
	}
	files := maps.Clone(all["ConfigMap"].Data)
	for name, text := range all["Secret"].StringData {
		files["secrets/"+name] = text
	}
	dir := write(t, files)
	env := []string{"CREDENTIALS_DIRECTORY=" + filepath.Join(dir, "secrets")}
	for _, e := range c.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	if code, stdout, stderr := rounds(t, env, "validate", dir); code != 0 {
		t.Errorf("the configuration is not valid:\n%s%s", stdout, stderr)
	}
	listen := regexp.MustCompile(`listen = "0\.0\.0\.0:(\d+)"`).FindStringSubmatch(all["ConfigMap"].Data["web.hcl"])
	if len(listen) == 0 || len(c.Ports) != 1 || c.Ports[0].Name != "web" || c.Ports[0].ContainerPort != listen[1] {
		t.Errorf("the ports of the container are %v, it listens on %v", c.Ports, listen)
	}
	for path, p := range map[string][]probe{"/healthz": {c.LivenessProbe}, "/readyz": {c.StartupProbe, c.ReadinessProbe}} {
		for _, p := range p {
			if p.HTTPGet.Path != path || p.HTTPGet.Port != "web" {
				t.Errorf("a probe asks %+v, want %s", p.HTTPGet, path)
			}
		}
	}
}

func TestSystemdTakesTheUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	dir := write(t, map[string]string{
		"rounds.service": replaced(t, readFile(t, deployed+"systemd/rounds.service"), "/usr/local/bin/rounds", binary)})
	out, err := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, "rounds.service")).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReleasesAreBuiltTheSameWayEverywhere compares goreleaser's flags with those of the Dockerfile and of docs/deploy.md;
// .ci/reproducible builds with them.
func TestReleasesAreBuiltTheSameWayEverywhere(t *testing.T) {
	t.Parallel()
	var release struct {
		Builds []struct{ Env, Flags, Ldflags, Goos, Goarch yaml.Node }
	}
	fromYAML(t, readFile(t, "../../.goreleaser.yaml"), &release)
	list := func(n yaml.Node) (words []string) {
		if err := n.Decode(&words); err != nil {
			t.Fatal(err)
		}
		return words
	}
	b := release.Builds[0]
	if got := list(b.Goos); !slices.Equal(got, []string{"linux", "darwin", "windows"}) || len(list(b.Goarch)) != 2 {
		t.Errorf("built for %v", got)
	}
	told := map[string]struct{ path, version, commit string }{
		"the Dockerfile": {deployed + "docker/Dockerfile", "$VERSION", "$COMMIT"},
		"docs/deploy.md": {"../../docs/deploy.md", "1.2.3", "$(git rev-parse HEAD)"},
	}
	for name, c := range told {
		ldflags := strings.NewReplacer("{{ .Version }}", c.version, "{{ .FullCommit }}", c.commit).Replace(list(b.Ldflags)[0])
		text := strings.ReplaceAll(readFile(t, c.path), "\\\n", "")
		for _, want := range slices.Concat(list(b.Env), []string{"go build " + strings.Join(list(b.Flags), " "), `-ldflags "` + ldflags + `"`}) {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not build with %s", name, want)
			}
		}
	}
	if image, version := instructions(t, "FROM")[0], strings.TrimPrefix(runtime.Version(), "go"); !strings.Contains(image, "golang:") ||
		!strings.HasPrefix(version, regexp.MustCompile(`golang:([\d.]+)`).FindStringSubmatch(image)[1]) {
		t.Errorf("the Dockerfile builds with %s, these tests with %s", image, version)
	}
}
