package flux

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/jsondiff"
	"github.com/fluxcd/pkg/ssa/normalize"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// What users are told to write into their Kustomization.
const trafficPage = "../../../docs/traffic.md"

const controller = "kustomize-controller"

// ofThePage is the Kustomization as the page shows it.
func (b *bed) ofThePage() *kustomizev1.Kustomization {
	b.Helper()
	page, err := os.ReadFile(trafficPage)
	if err != nil {
		b.Fatal(err)
	}
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(block, "\n  ignore:\n") {
			continue
		}
		var read kustomizev1.Kustomization
		if err := yaml.UnmarshalStrict([]byte(block), &read); err != nil {
			b.Fatalf("Flux knows no such Kustomization: %v\n%s", err, block)
		}
		return &read
	}
	b.Fatalf("%s shows no Kustomization with ignore", trafficPage)
	return nil
}

// reconcile applies what Git has, as the controller does, and says what became of it.
func (b *bed) reconcile(kustomization *kustomizev1.Kustomization, git *unstructured.Unstructured) (ssa.Action, error) {
	b.Helper()
	owner := ssa.Owner{Field: controller, Group: kustomizev1.GroupVersion.Group}
	manager := ssa.NewResourceManager(&interrupted{b.client, b.meanwhile}, nil, owner)
	objects := []*unstructured.Unstructured{git.DeepCopy()}
	objects[0].SetNamespace(b.namespace)
	manager.SetOwnerLabels(objects, "shop", "flux-system")
	if err := normalize.UnstructuredList(objects); err != nil {
		b.Fatal(err)
	}
	changes, err := manager.ApplyAllStaged(context.Background(), objects, options(kustomization))
	if err != nil {
		return "", err
	}
	if len(changes.Entries) != 1 {
		b.Fatalf("one object, and these changes: %v", changes)
	}
	return changes.Entries[0].Action, nil
}

// interrupted is a client in which something happens before each apply that is not a dry run.
type interrupted struct {
	client.Client
	meanwhile func()
}

func (i *interrupted) Patch(
	ctx context.Context, object client.Object, patch client.Patch, options ...client.PatchOption,
) error {
	dry := slices.Contains(options, client.PatchOption(client.DryRunAll))
	if patch == client.Apply && !dry && i.meanwhile != nil {
		i.meanwhile()
	}
	return i.Client.Patch(ctx, object, patch, options...)
}

// reconciles is reconcile where that action is expected.
func (b *bed) reconciles(kustomization *kustomizev1.Kustomization, git *unstructured.Unstructured, expected ssa.Action) {
	b.Helper()
	action, err := b.reconcile(kustomization, git)
	if err != nil {
		b.Fatal(err)
	}
	if action != expected {
		b.Fatalf("Flux says %s, not %s", action, expected)
	}
}

// refuses checks that Flux could not apply, and what it said.
func (b *bed) refuses(action ssa.Action, err error, words string) {
	b.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		b.Errorf("Flux says %q (%v), not %q: what does the page say of it?", action, err, words)
	}
}

// options are those of the controller, whose code for this is internal.
func options(kustomization *kustomizev1.Kustomization) ssa.ApplyOptions {
	key := func(word string) string {
		return fmt.Sprintf("%s/%s", kustomizev1.GroupVersion.Group, word)
	}
	options := ssa.DefaultApplyOptions()
	options.ExclusionSelector = map[string]string{
		key("reconcile"): kustomizev1.DisabledValue,
		key("ssa"):       kustomizev1.IgnoreValue,
	}
	options.IfNotPresentSelector = map[string]string{key("ssa"): kustomizev1.IfNotPresentValue}
	options.ForceSelector = map[string]string{key("force"): kustomizev1.EnabledValue}
	for _, rule := range kustomization.Spec.Ignore {
		ignored := jsondiff.IgnoreRule{Paths: rule.Paths}
		if target := rule.Target; target != nil {
			ignored.Selector = &jsondiff.Selector{
				Group:              target.Group,
				Version:            target.Version,
				Kind:               target.Kind,
				Name:               target.Name,
				Namespace:          target.Namespace,
				AnnotationSelector: target.AnnotationSelector,
				LabelSelector:      target.LabelSelector,
			}
		}
		options.DriftIgnoreRules = append(options.DriftIgnoreRules, ignored)
	}
	apply, update := metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: apply},
			{Name: "kubectl", OperationType: update},
			{Name: "before-first-apply", OperationType: update},
			{Name: controller, OperationType: update},
		},
		Exclusions: map[string]string{key("ssa"): kustomizev1.MergeValue},
	}
	return options
}
