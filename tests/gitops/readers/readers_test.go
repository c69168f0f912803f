// Package readers reads stored objects as GitOps tools do. `OBJECTS` is a folder of files, each
// with an object, and for each command what the operator answers to it in that state.
package readers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Answer is what the operator says to a command.
type Answer struct {
	// Target is what the command must be bound to.
	Target  string `json:"target"`
	Done    bool   `json:"done"`
	Message string `json:"message"`
}

// Kept is one state.
type Kept struct {
	Name     string
	Object   map[string]any    `json:"object"`
	Commands map[string]Answer `json:"commands"`
}

func (k *Kept) object() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: k.Object}
}

func (k *Kept) rollout() bool { return k.Object["kind"] == "Rollout" }

// condition is the status of a condition; "" when there is none.
func (k *Kept) condition(name string) (status, reason, message string) {
	all, _, _ := unstructured.NestedSlice(k.Object, "status", "conditions")
	for _, one := range all {
		condition := one.(map[string]any)
		if condition["type"] == name {
			return condition["status"].(string), condition["reason"].(string), condition["message"].(string)
		}
	}
	return "", "", ""
}

// fresh says whether the status is about the present spec.
func (k *Kept) fresh() bool {
	generation, _, _ := unstructured.NestedInt64(k.Object, "metadata", "generation")
	observed, found, _ := unstructured.NestedInt64(k.Object, "status", "observedGeneration")
	return found && generation == observed
}

func kept(t *testing.T) []*Kept {
	t.Helper()
	folder := os.Getenv("OBJECTS")
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("OBJECTS=%q has %d objects (%v): run cargo test --test gitops", folder, len(files), err)
	}
	slices.Sort(files)
	var all []*Kept
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		one := &Kept{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := json.Unmarshal(text, one); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		one.Object = integers(one.Object).(map[string]any)
		all = append(all, one)
	}
	return all
}

// integers makes whole numbers int64, as the Kubernetes client does.
func integers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, one := range value {
			value[key] = integers(one)
		}
	case []any:
		for index, one := range value {
			value[index] = integers(one)
		}
	case float64:
		if value == float64(int64(value)) {
			return int64(value)
		}
	}
	return value
}
