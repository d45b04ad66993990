package deploy

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/internal/config"
)

// manifest is what these tests look at; that everything else is right too is for the types of Kubernetes to say.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Replicas     int
		MinAvailable int
		ClusterIP    string
		Selector     any
		Ports        []struct{ Port, TargetPort any }
		Template     struct {
			Metadata struct{ Labels map[string]string }
			Spec     pod
		}
	}
}

type pod struct {
	AutomountServiceAccountToken  *bool
	TerminationGracePeriodSeconds int
	SecurityContext               struct {
		RunAsNonRoot   bool
		RunAsUser      int
		SeccompProfile struct{ Type string }
	}
	Containers []container
	Volumes    []struct {
		Name      string
		ConfigMap struct{ Name string }
	}
}

type container struct {
	Args  []string
	Env   []struct{ Name string }
	Ports []struct {
		Name          string
		ContainerPort int
	}
	LivenessProbe, ReadinessProbe struct {
		HTTPGet struct{ Path, Port string }
	}
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } }
	}
	SecurityContext struct {
		AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem   bool
		Capabilities             struct{ Drop []string }
	}
	VolumeMounts []struct{ Name, MountPath, SubPath string }
}

// readManifests has the types of Kubernetes read the manifests: a misspelt word is an error there.
var readManifests = sync.OnceValues(func() (all []manifest, err error) {
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no manifests: %w", err)
	}
	args := []string{"run", "-C", "manifests", "."}
	for _, f := range files {
		args = append(args, filepath.Join("..", f))
	}
	var why strings.Builder
	cmd := exec.Command("go", args...)
	cmd.Stderr = &why
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, why.String())
	}
	for line := range strings.Lines(string(out)) {
		var m manifest
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
})

func object(t *testing.T, kind, name string) manifest {
	t.Helper()
	all, err := readManifests()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Kind == kind && m.Metadata.Name == name {
			return m
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return manifest{}
}

// configMap is the gateway.hcl of the ConfigMap.
func configMap(t *testing.T) string {
	t.Helper()
	text, ok := object(t, "ConfigMap", "gateway").Data["gateway.hcl"]
	if !ok {
		t.Fatal("the ConfigMap has no gateway.hcl")
	}
	return text
}

func clusterConfig(t *testing.T) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.hcl")
	put(t, path, configMap(t), 0o600)
	return checked(t, path)
}

// ports are those that the configuration opens, by the names that the manifests give them.
func ports(t *testing.T, cfg *config.Config) map[string]int {
	t.Helper()
	all := map[string]int{}
	add := func(name, addr string) {
		var port int
		if _, err := fmt.Sscanf(addr, "0.0.0.0:%d", &port); err != nil {
			t.Errorf("%s cannot be reached from outside the pod: %v", addr, err)
		}
		all[name] = port
	}
	for _, l := range cfg.Listeners {
		add(l.Name, l.Addr)
	}
	for _, r := range cfg.Relays {
		if r.Workers != nil {
			add("workers", r.Workers.Addr)
		}
	}
	add("admin", cfg.Admin.Addr)
	return all
}

func TestPodsRunWhatTheBinaryKnows(t *testing.T) {
	cfg, deployment := clusterConfig(t), object(t, "Deployment", "gateway")
	if len(deployment.Spec.Template.Spec.Containers) != 1 {
		t.Fatal("the pod has other containers too")
	}
	p := deployment.Spec.Template.Spec
	c := p.Containers[0]
	checkCommand(t, c.Args)
	at := slices.Index(c.Args, "-config")
	if at < 0 || len(c.VolumeMounts) != 1 || c.Args[at+1] != c.VolumeMounts[0].MountPath+"/gateway.hcl" || p.Volumes[0].ConfigMap.Name != "gateway" {
		t.Errorf("%q does not read the ConfigMap at %v", c.Args, c.VolumeMounts)
	}
	if c.VolumeMounts[0].SubPath != "" || !slices.Contains(c.Args, "-watch") {
		t.Error("a change of the ConfigMap is not taken up")
	}
	opened := ports(t, cfg)
	for _, port := range c.Ports {
		if opened[port.Name] != port.ContainerPort {
			t.Errorf("port %s is %d in the pod and %d in the configuration", port.Name, port.ContainerPort, opened[port.Name])
		}
		delete(opened, port.Name)
	}
	if len(opened) > 0 {
		t.Errorf("the pod does not name %v", opened)
	}
	// That these paths answer without a token is tested with the image.
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Port != "admin" || c.ReadinessProbe.HTTPGet.Port != "admin" {
		t.Errorf("the probes ask %+v and %+v", c.LivenessProbe, c.ReadinessProbe)
	}
	grace := time.Duration(p.TerminationGracePeriodSeconds-c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if grace < cfg.DrainTimeout+cutGrace || c.Lifecycle.PreStop.Sleep.Seconds == 0 {
		t.Errorf("%v are left to drain for %v", grace, cfg.DrainTimeout)
	}
	for _, name := range []string{"ADMIN_TOKEN", "AGENT_TOKEN"} {
		if !strings.Contains(configMap(t), fmt.Sprintf("env(%q)", name)) || !slices.ContainsFunc(c.Env, func(e struct{ Name string }) bool { return e.Name == name }) {
			t.Errorf("%s does not come from the secret", name)
		}
	}
}

func TestPodsMayDoNothingBesides(t *testing.T) {
	p := object(t, "Deployment", "gateway").Spec.Template.Spec
	s, c := p.SecurityContext, p.Containers[0].SecurityContext
	if user, _, _ := strings.Cut(value(t, image(t), "USER"), ":"); !s.RunAsNonRoot || fmt.Sprint(s.RunAsUser) != user {
		t.Errorf("the pod runs as %d, the image as %s", s.RunAsUser, user)
	}
	if s.SeccompProfile.Type != "RuntimeDefault" || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation ||
		!c.ReadOnlyRootFilesystem || !slices.Equal(c.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("the container may too much: %+v %+v", s, c)
	}
	if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
		t.Error("the gateway needs no token of the cluster")
	}
}

func TestServicesLeadToThePods(t *testing.T) {
	deployment := object(t, "Deployment", "gateway")
	labels := fmt.Sprint(deployment.Spec.Template.Metadata.Labels)
	named := map[any]bool{}
	for _, port := range deployment.Spec.Template.Spec.Containers[0].Ports {
		named[port.Name] = true
	}
	for _, name := range []string{"gateway", "gateway-workers"} {
		s := object(t, "Service", name)
		if fmt.Sprint(s.Spec.Selector) != labels {
			t.Errorf("the service %s selects %v, and the pods have %s", name, s.Spec.Selector, labels)
		}
		for _, port := range s.Spec.Ports {
			if !named[port.TargetPort] || port.TargetPort == "admin" {
				t.Errorf("the service %s leads to %v", name, port.TargetPort)
			}
		}
	}
	if ip := object(t, "Service", "gateway-workers").Spec.ClusterIP; ip != "None" {
		t.Errorf("workers meet one gateway behind %q, and have to be at all of them", ip)
	}
	if budget := object(t, "PodDisruptionBudget", "gateway").Spec.MinAvailable; deployment.Spec.Replicas != 2 || budget != 1 {
		t.Errorf("%d replicas of which %d must stay", deployment.Spec.Replicas, budget)
	}
}
