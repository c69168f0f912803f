// What Flux makes of a route whose weights a release changes: by the library that its controller applies
// with, on a real API server with the definitions that Gateway API and Istio publish. In these, rules and
// backends are lists that have one owner as a whole.
package flux

import (
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/ssa"
)

var plain = &kustomizev1.Kustomization{}

// Without rules, each reconciliation sets the weights back.
func TestFluxResetsWeights(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		git := b.route(b.web("old"))
		b.reconciles(plain, git, ssa.CreatedAction)
		b.reconciles(plain, git, ssa.UnchangedAction)
		b.release(25)
		b.serves(0, "old", 75, 25)
		b.reconciles(plain, git, ssa.ConfiguredAction)
		b.serves(0, "old", 100, 0)
	})
}

// With the rules of the page, weights are left alone in a release and after it, and what else Git
// changes is applied.
func TestFluxLeavesIgnoredWeightsAlone(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		page := b.ofThePage()
		b.reconciles(page, b.route(b.web("old")), ssa.CreatedAction)
		b.serves(0, "old", 100, 0)
		b.release(25)
		before := b.live().GetResourceVersion()
		b.reconciles(page, b.route(b.web("old")), ssa.UnchangedAction)
		if now := b.live().GetResourceVersion(); now != before {
			b.Errorf("Flux has written the route: %s, then %s", before, now)
		}
		b.serves(0, "old", 75, 25)

		b.reconciles(page, b.route(b.web("new")), ssa.ConfiguredAction)
		b.serves(0, "new", 75, 25)
		b.release(50)
		b.reconciles(page, b.route(b.web("new")), ssa.UnchangedAction)
		b.serves(0, "new", 50, 50)
		more := b.route(b.web("new"), b.rule("more", share{"other", -1}))
		b.reconciles(page, more, ssa.ConfiguredAction)
		b.serves(0, "new", 50, 50)

		b.release(0)
		b.reconciles(page, more, ssa.UnchangedAction)
		b.reconciles(page, b.route(b.web("newest")), ssa.ConfiguredAction)
		b.serves(0, "newest", 100, 0)
	})
}

// Flux applies the weights that it read before: a step in between is lost.
func TestAStepDuringAnApplyIsLost(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		page := b.ofThePage()
		b.reconciles(page, b.route(b.web("old")), ssa.CreatedAction)
		b.release(25)
		b.meanwhile = func() { b.release(50) }
		b.reconciles(page, b.route(b.web("new")), ssa.ConfiguredAction)
		b.serves(0, "new", 75, 25)
	})
}

// What is not at 100 and 0 stays so, until somebody sets it right by hand.
func TestFluxDoesNotRepairIgnoredWeights(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		page, git := b.ofThePage(), b.route(b.web("old"))
		b.reconciles(page, git, ssa.CreatedAction)
		b.release(25)
		b.reconciles(page, git, ssa.UnchangedAction)
		b.weigh("kubectl-edit", 0, 100, 0)
		if _, err := b.reconcile(page, git); err != nil {
			b.Fatal(err)
		}
		b.serves(0, "old", 100, 0)
	})
}

// A route that gets its weights and the rules at the same time does not get the weights: the rules must come
// later.
func TestIgnoredWeightsAreNotIntroduced(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		page, git := b.ofThePage(), b.route(b.web("old"))
		b.reconciles(plain, b.route(b.rule("old", share{"shop", -1})), ssa.CreatedAction)
		if action, err := b.reconcile(page, git); b.name == virtualService.name {
			b.refuses(action, err, "weight in body must be of type integer")
		} else if err != nil {
			b.Fatal(err)
		} else {
			b.serves(0, "old", 1, 1)
			b.reconciles(page, git, ssa.UnchangedAction)
		}

		b.reconciles(plain, git, ssa.ConfiguredAction)
		b.serves(0, "old", 100, 0)
		b.reconciles(page, git, ssa.UnchangedAction)
		b.serves(0, "old", 100, 0)
	})
}

// Rules find the weights by places: what moves takes weights that are not its own.
func TestIgnoredWeightsStayAtTheirPlace(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		page := b.ofThePage()
		b.reconciles(page, b.route(b.web("old")), ssa.CreatedAction)
		swapped := b.rule("old", share{"shop-canary", 0}, share{"shop-stable", 100})
		if action, err := b.reconcile(page, b.route(swapped)); err != nil {
			b.Fatal(action, err)
		}
		b.serves(0, "old", 100, 0)

		// Without the rules, once, all is as in Git.
		b.reconciles(plain, b.route(swapped), ssa.ConfiguredAction)
		b.serves(0, "old", 0, 100)
	})
}

// A rule before the one of the page, without weights, cannot be applied at all.
func TestARuleBeforeIsRefused(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		page := b.ofThePage()
		b.reconciles(page, b.route(b.web("old")), ssa.CreatedAction)
		git := b.route(b.rule("testers", share{"shop-canary", -1}), b.web("old"))
		action, err := b.reconcile(page, git)
		b.refuses(action, err, "replace operation does not apply")
		b.reconciles(plain, git, ssa.ConfiguredAction)
		b.serves(1, "old", 100, 0)
	})
}

// With this annotation weights stay, and so does everything else.
func TestIfNotPresentKeepsTheWholeRoute(t *testing.T) {
	onEach(t, kinds, func(b *bed) {
		annotate := map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
		git, later := b.route(b.web("old")), b.route(b.web("new"))
		git.SetAnnotations(annotate)
		later.SetAnnotations(annotate)
		b.reconciles(plain, git, ssa.CreatedAction)
		b.release(25)
		b.reconciles(plain, later, ssa.SkippedAction)
		b.serves(0, "old", 75, 25)
	})
}

// Git without weights does not leave them to others: the API server has a default for each.
func TestWeightsLeftOutAreReset(t *testing.T) {
	onEach(t, []kind{httpRoute, grpcRoute}, func(b *bed) {
		git := b.route(b.rule("old", share{"shop-stable", -1}, share{"shop-canary", -1}))
		b.reconciles(plain, git, ssa.CreatedAction)
		b.serves(0, "old", 1, 1)
		b.weigh("kubectl-edit", 0, 100, 0)
		b.release(25)
		b.reconciles(plain, git, ssa.ConfiguredAction)
		b.serves(0, "old", 1, 1)
	})
}
