package readers

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/itchyny/gojq"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"gopkg.in/yaml.v2"
	"k8s.io/apimachinery/pkg/runtime"
)

// What users are told to write into their Application.
const trafficPage = "../../../docs/traffic.md"

// Ignored is one entry of ignoreDifferences.
type Ignored struct {
	Group             string   `yaml:"group"`
	Kind              string   `yaml:"kind"`
	JQPathExpressions []string `yaml:"jqPathExpressions"`
}

// application is the spec of the Application as the page shows it.
func application(t *testing.T) (ignored []Ignored, options []string) {
	t.Helper()
	page, err := os.ReadFile(trafficPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var read struct {
			Spec struct {
				IgnoreDifferences []Ignored `yaml:"ignoreDifferences"`
				SyncPolicy        struct {
					SyncOptions []string `yaml:"syncOptions"`
				} `yaml:"syncPolicy"`
			} `yaml:"spec"`
		}
		if yaml.Unmarshal([]byte(block), &read) == nil && len(read.Spec.IgnoreDifferences) > 0 {
			return read.Spec.IgnoreDifferences, read.Spec.SyncPolicy.SyncOptions
		}
	}
	t.Fatalf("%s shows no ignoreDifferences", trafficPage)
	return nil, nil
}

// routes are those that a release knows, with these weights and this path or method.
func routes(stable, canary int, match string) []map[string]any {
	gateway := func(kind string) map[string]any {
		return map[string]any{
			"apiVersion": "gateway.networking.k8s.io/v1",
			"kind":       kind,
			"metadata":   map[string]any{"name": "shop"},
			"spec": map[string]any{"rules": []any{map[string]any{
				"name":    "web",
				"matches": []any{map[string]any{"match": match}},
				"backendRefs": []any{
					map[string]any{"name": "shop-stable", "port": 80.0, "weight": float64(stable)},
					map[string]any{"name": "shop-canary", "port": 80.0, "weight": float64(canary)},
				},
			}}},
		}
	}
	destination := func(name string, weight int) any {
		return map[string]any{
			"destination": map[string]any{"host": name},
			"weight":      float64(weight),
		}
	}
	return []map[string]any{gateway("HTTPRoute"), gateway("GRPCRoute"), {
		"apiVersion": "networking.istio.io/v1",
		"kind":       "VirtualService",
		"metadata":   map[string]any{"name": "shop"},
		"spec": map[string]any{"http": []any{map[string]any{
			"name":  "web",
			"match": []any{map[string]any{"match": match}},
			"route": []any{destination("shop-stable", stable), destination("shop-canary", canary)},
		}}},
	}}
}

// normalized is the object without what is ignored, as Argo CD compares it: each expression is deleted
// by gojq.
func normalized(t *testing.T, ignored []Ignored, object map[string]any) map[string]any {
	t.Helper()
	group, _, _ := strings.Cut(object["apiVersion"].(string), "/")
	for _, one := range ignored {
		if one.Group != group || one.Kind != object["kind"] {
			continue
		}
		for _, expression := range one.JQPathExpressions {
			query, err := gojq.Parse(fmt.Sprintf("del(%s)", expression))
			if err != nil {
				t.Fatalf("%s: %s: %v", one.Kind, expression, err)
			}
			found, _ := query.Run(runtime.DeepCopyJSON(object)).Next()
			if err, bad := found.(error); bad {
				t.Fatalf("%s: %s: %v", one.Kind, expression, err)
			}
			object = found.(map[string]any)
		}
	}
	return object
}

// A release in motion is no difference, at any step and for each kind of route.
func TestArgoIgnoresWeights(t *testing.T) {
	ignored, _ := application(t)
	git := routes(100, 0, "old")
	for _, weights := range [][2]int{{95, 5}, {50, 50}, {0, 100}} {
		for index, live := range routes(weights[0], weights[1], "old") {
			kind := live["kind"]
			if reflect.DeepEqual(git[index], live) {
				t.Fatalf("%s: the weights are the same: this proves nothing", kind)
			}
			if !reflect.DeepEqual(normalized(t, ignored, git[index]), normalized(t, ignored, live)) {
				t.Errorf("%s: weights %v are a difference", kind, weights)
			}
		}
	}
}

// What Git changes besides is one.
func TestArgoSeesWhatElseChanges(t *testing.T) {
	ignored, _ := application(t)
	git := routes(100, 0, "new")
	for index, live := range routes(95, 5, "old") {
		if reflect.DeepEqual(normalized(t, ignored, git[index]), normalized(t, ignored, live)) {
			t.Errorf("%s: a change of a rule is no difference", live["kind"])
		}
	}
}

// With RespectIgnoreDifferences a sync writes what Git has without the ignored fields, and over it
// what takes the live object without them to the live object as it is. That is a merge patch, and a
// merge patch has lists as a whole: the live rules go over those of Git.
func TestArgoWouldKeepOldRules(t *testing.T) {
	ignored, options := application(t)
	for _, option := range options {
		if strings.HasPrefix(option, "RespectIgnoreDifferences") {
			t.Errorf("the page shows %s", option)
		}
	}
	bytes := func(object map[string]any) []byte {
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	git := routes(100, 0, "new")
	for index, live := range routes(100, 0, "old") {
		patch, err := jsonpatch.CreateMergePatch(bytes(normalized(t, ignored, live)), bytes(live))
		if err != nil {
			t.Fatal(err)
		}
		written, err := jsonpatch.MergePatch(bytes(normalized(t, ignored, git[index])), patch)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(written), "new") {
			t.Errorf("%s: a merge patch no longer has lists as a whole: say so in the page", live["kind"])
		}
	}
}
