// Manifests reads Kubernetes manifests by the types of Kubernetes itself, and prints them as JSON, one object a line. A word
// that Kubernetes does not know, or a value of the wrong type, is an error.
//
//	go run -C demo/deploy/manifests . FILE...
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

// kinds are those that are in use, by apiVersion and kind.
var kinds = map[[2]string]func() any{
	{"v1", "ConfigMap"}:                  func() any { return new(core.ConfigMap) },
	{"v1", "Service"}:                    func() any { return new(core.Service) },
	{"apps/v1", "Deployment"}:            func() any { return new(apps.Deployment) },
	{"policy/v1", "PodDisruptionBudget"}: func() any { return new(policy.PodDisruptionBudget) },
}

func main() {
	for _, path := range os.Args[1:] {
		if err := read(path); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

// read prints the objects of a file.
func read(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var what struct{ APIVersion, Kind string }
		if err := strict.Unmarshal(document, &what); err != nil {
			return err
		}
		make, known := kinds[[2]string{what.APIVersion, what.Kind}]
		if !known {
			return fmt.Errorf("no kind %q in %q is in use here", what.Kind, what.APIVersion)
		}
		object := make()
		if err := strict.UnmarshalStrict(document, object); err != nil {
			return fmt.Errorf("%s: %w", what.Kind, err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(object); err != nil {
			return err
		}
	}
}
