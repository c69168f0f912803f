package flux

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kind is a kind of routes.
type kind struct {
	group, name string
	// Where its rules stand, and in a rule the backends and the matches.
	rules, backends, matches string
	// match is a match that names this word, and backend what leads to this Service.
	match, backend func(word string) map[string]any
}

func reference(service string) map[string]any {
	return map[string]any{"name": service, "port": int64(80)}
}

var (
	httpRoute = kind{
		group: "gateway.networking.k8s.io", name: "HTTPRoute",
		rules: "rules", backends: "backendRefs", matches: "matches",
		match: func(word string) map[string]any {
			return map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/" + word}}
		},
		backend: reference,
	}
	grpcRoute = kind{
		group: "gateway.networking.k8s.io", name: "GRPCRoute",
		rules: "rules", backends: "backendRefs", matches: "matches",
		match: func(word string) map[string]any {
			return map[string]any{"method": map[string]any{"type": "Exact", "service": word}}
		},
		backend: reference,
	}
	virtualService = kind{
		group: "networking.istio.io", name: "VirtualService",
		rules: "http", backends: "route", matches: "match",
		match: func(word string) map[string]any {
			return map[string]any{"uri": map[string]any{"prefix": "/" + word}}
		},
		backend: func(service string) map[string]any {
			return map[string]any{"destination": map[string]any{"host": service}}
		},
	}
	kinds = []kind{httpRoute, grpcRoute, virtualService}
)

// share is a Service with its weight in a rule; below zero it has none.
type share struct {
	service string
	weight  int64
}

// rule is a rule that matches the word.
func (k kind) rule(word string, shares ...share) map[string]any {
	backends := []any{}
	for _, share := range shares {
		backend := k.backend(share.service)
		if share.weight >= 0 {
			backend["weight"] = share.weight
		}
		backends = append(backends, backend)
	}
	return map[string]any{k.matches: []any{k.match(word)}, k.backends: backends}
}

// web is the rule that the page tells users to write.
func (k kind) web(word string) map[string]any {
	return k.rule(word, share{"shop-stable", 100}, share{"shop-canary", 0})
}

// route is the route with these rules, as it stands in Git.
func (k kind) route(rules ...map[string]any) *unstructured.Unstructured {
	all := []any{}
	for index, rule := range rules {
		rule["name"] = fmt.Sprintf("rule-%d", index)
		all = append(all, rule)
	}
	spec := map[string]any{k.rules: all}
	if k.name == virtualService.name {
		spec["hosts"] = []any{"shop.example.com"}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": k.group + "/v1",
		"kind":       k.name,
		"metadata":   map[string]any{"name": "shop"},
		"spec":       spec,
	}}
}

// bed is a namespace on the cluster that KUBECONFIG names.
type bed struct {
	*testing.T
	kind
	client    client.Client
	namespace string
	// meanwhile happens after Flux has read and before it applies.
	meanwhile func()
}

// connect gives a client of a cluster that has the definitions of routes.
var connect = sync.OnceValues(func() (client.Client, error) {
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		return nil, fmt.Errorf("these tests need a cluster: set KUBECONFIG to its configuration")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	client, err := client.New(config, client.Options{})
	if err != nil {
		return nil, err
	}
	return client, define(client)
})

// define installs the definitions that the projects publish: whether a list is one value or many is
// theirs to say.
func define(to client.Client) error {
	for _, from := range [][]string{
		{"sigs.k8s.io/gateway-api", "config/crd/standard/*_httproutes.yaml"},
		{"sigs.k8s.io/gateway-api", "config/crd/standard/*_grpcroutes.yaml"},
		{"istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml"}, // of VirtualServices, among others
	} {
		module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", from[0]).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", from[0], err)
		}
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(module)), from[1]))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("%v: %v %w", from, files, err)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		objects, err := utils.ReadObjects(bytes.NewReader(text))
		if err != nil {
			return err
		}
		for _, object := range objects {
			served, _, _ := unstructured.NestedString(object.Object, "spec", "names", "kind")
			if !slices.ContainsFunc(kinds, func(kind kind) bool { return kind.name == served }) {
				continue
			}
			if err := install(to, object); err != nil {
				return fmt.Errorf("%s: %w", object.GetName(), err)
			}
		}
	}
	return nil
}

func install(to client.Client, definition *unstructured.Unstructured) error {
	background := context.Background()
	err := to.Patch(background, definition, client.Apply, client.ForceOwnership, client.FieldOwner("tests"))
	for end := time.Now().Add(time.Minute); err == nil; err = to.Get(background, client.ObjectKeyFromObject(definition), definition) {
		conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
		for _, one := range conditions {
			condition, _ := one.(map[string]any)
			if condition["type"] == "Established" && condition["status"] == "True" {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("not established after a minute: %v", conditions)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// onEach runs the test for each of these kinds, in a namespace of its own.
func onEach(t *testing.T, kinds []kind, test func(*bed)) {
	client, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			namespace := &unstructured.Unstructured{}
			namespace.SetAPIVersion("v1")
			namespace.SetKind("Namespace")
			namespace.SetGenerateName("flux-")
			if err := client.Create(context.Background(), namespace); err != nil {
				t.Fatal(err)
			}
			test(&bed{T: t, kind: kind, client: client, namespace: namespace.GetName()})
		})
	}
}

// live is the route as the API server has it.
func (b *bed) live() *unstructured.Unstructured {
	b.Helper()
	route := b.route()
	key := client.ObjectKey{Namespace: b.namespace, Name: route.GetName()}
	if err := b.client.Get(context.Background(), key, route); err != nil {
		b.Fatal(err)
	}
	return route
}

// weigh writes weights into the rule at this place as Stepgate does: a JSON patch of the copy that was
// read, and an update in the eyes of the API server.
func (b *bed) weigh(manager string, rule int, weights ...int64) {
	b.Helper()
	route := b.live()
	patch := []map[string]any{
		{"op": "replace", "path": "/metadata/uid", "value": route.GetUID()},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": route.GetResourceVersion()},
	}
	for index, weight := range weights {
		path := fmt.Sprintf("/spec/%s/%d/%s/%d/weight", b.rules, rule, b.backends, index)
		patch = append(patch, map[string]any{"op": "add", "path": path, "value": weight})
	}
	text, err := json.Marshal(patch)
	if err != nil {
		b.Fatal(err)
	}
	raw := client.RawPatch(types.JSONPatchType, text)
	if err := b.client.Patch(context.Background(), route, raw, client.FieldOwner(manager)); err != nil {
		b.Fatal(err)
	}
}

// release writes the weights of a step.
func (b *bed) release(canary int64) {
	b.Helper()
	b.weigh("stepgate", 0, 100-canary, canary)
}

// serves checks a rule of the live route: the word that it matches, and its weights; those that the API
// server sets by default are there.
func (b *bed) serves(rule int, word string, weights ...int64) {
	b.Helper()
	rules, _, _ := unstructured.NestedSlice(b.live().Object, "spec", b.rules)
	found := rules[rule].(map[string]any)
	got := []int64{}
	for _, one := range found[b.backends].([]any) {
		weight, _, _ := unstructured.NestedInt64(one.(map[string]any), "weight")
		got = append(got, weight)
	}
	if text := fmt.Sprint(found); !strings.Contains(text, word) {
		b.Errorf("rule %d does not match %q: %s", rule, word, text)
	}
	if !reflect.DeepEqual(got, weights) {
		b.Errorf("rule %d has weights %v, not %v", rule, got, weights)
	}
}
