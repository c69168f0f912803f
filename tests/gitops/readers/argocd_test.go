package readers

import (
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"gopkg.in/yaml.v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

const configMap = "../../../deploy/argocd/argocd-cm.yaml"

// customizations is the data of the ConfigMap.
func customizations(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(configMap)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	return read.Data
}

// Actions is a key resource.customizations.actions of the ConfigMap.
type Actions struct {
	Discovery   string `yaml:"discovery.lua"`
	Definitions []struct {
		Name   string `yaml:"name"`
		Action string `yaml:"action.lua"`
	} `yaml:"definitions"`
}

func actions(t *testing.T) Actions {
	t.Helper()
	var read Actions
	text := customizations(t)["resource.customizations.actions.stepgate.io_Rollout"]
	if err := yaml.UnmarshalStrict([]byte(text), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

// run runs a script as Argo CD does where its open libraries are off: with the functions of the
// language, of tables, and of the clock; without those of strings, files and programs.
func run(t *testing.T, script string, object map[string]any) map[string]any {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, library := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		state.Push(state.NewFunction(library))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	clock := state.NewTable()
	clock.RawSetString("time", state.NewFunction(func(state *lua.LState) int {
		state.Push(lua.LNumber(time.Now().Unix()))
		return 1
	}))
	state.SetGlobal("os", clock)
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	value, err := luajson.Decode(state, text)
	if err != nil {
		t.Fatal(err)
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(script); err != nil {
		t.Fatalf("%v\n%s", err, script)
	}
	text, err = luajson.Encode(state.Get(-1))
	if err != nil {
		t.Fatal(err)
	}
	var result map[string]any
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return result
}

func TestArgoCDShowsTheHealthOfEveryState(t *testing.T) {
	scripts := customizations(t)
	seen := map[string]int{}
	for _, one := range kept(t) {
		kind := one.Object["kind"].(string)
		health := run(t, scripts["resource.customizations.health.stepgate.io_"+kind], one.Object)
		expected, words := expectedHealth(one)
		if health["status"] != expected {
			t.Errorf("%s is %v, not %s", one.Name, health, expected)
		}
		message, _ := health["message"].(string)
		if !strings.Contains(message, words) {
			t.Errorf("%s: %q does not say %q", one.Name, message, words)
		}
		seen[expected]++
	}
	for _, needed := range []string{"Healthy", "Progressing", "Suspended", "Degraded"} {
		if seen[needed] == 0 {
			t.Errorf("no state was %s: %v", needed, seen)
		}
	}
}

// expectedHealth is the table of section 8 of docs/design.md.
func expectedHealth(one *Kept) (health, words string) {
	if !one.rollout() {
		record, _ := one.Object["record"].(map[string]any)
		switch {
		case record["holder"] != nil:
			return "Progressing", record["holder"].(map[string]any)["job"].(string)
		case record["dirty"] != nil:
			return "Degraded", record["dirty"].([]any)[0].(map[string]any)["job"].(string)
		case record["backfillHolder"] != nil:
			return "Progressing", record["backfillHolder"].(map[string]any)["job"].(string)
		}
		return "Healthy", ""
	}
	if !one.fresh() {
		return "Progressing", "not looked at"
	}
	if is, _, message := one.condition("Stalled"); is == "True" {
		return "Degraded", message
	}
	if is, _, message := one.condition("Ready"); is == "True" {
		return "Healthy", message
	}
	_, reason, message := one.condition("Reconciling")
	if reason == "Paused" || reason == "WaitingForPromotion" {
		return "Suspended", message
	}
	return "Progressing", message
}

// What is offered is carried out; what would be carried out is offered, if the status has the
// revision that it must be bound to.
func TestArgoCDOffersTheCommandsThatTheOperatorCarriesOut(t *testing.T) {
	all := actions(t)
	if len(all.Definitions) != 5 {
		t.Fatalf("%d actions", len(all.Definitions))
	}
	offered := map[string]int{}
	for _, one := range kept(t) {
		if !one.rollout() {
			continue
		}
		discovered := run(t, all.Discovery, one.Object)
		for _, action := range all.Definitions {
			about, found := discovered[action.Name].(map[string]any)
			if !found {
				t.Fatalf("%s is defined and not discovered: %v", action.Name, discovered)
			}
			answer, known := one.Commands[action.Name]
			if about["disabled"] == true {
				if known && answer.Done && one.fresh() && !pointless(one, action.Name) && mentions(one.Object["status"], strings.Split(answer.Target, "/")[0]) {
					t.Errorf("%s: %s is not offered, and would be carried out: %s", one.Name, action.Name, answer.Message)
				}
				continue
			}
			offered[action.Name]++
			check(t, one, action.Name, action.Action, answer, known)
		}
	}
	for _, action := range all.Definitions {
		if offered[action.Name] == 0 {
			t.Errorf("%s is never offered", action.Name)
		}
	}
}

// pointless is a command that changes nothing in this state.
func pointless(one *Kept, command string) bool {
	stage, _, _ := unstructured.NestedString(one.Object, "status", "release", "stage")
	since, _, _ := unstructured.NestedString(one.Object, "status", "pausedSince")
	paused, _, _ := unstructured.NestedBool(one.Object, "spec", "paused")
	is, reason, _ := one.condition("Stalled")
	// Nothing of such a revision would be held: it cannot begin.
	barred := is == "True" && reason == "BelowUndoFloor" && stage == ""
	return command == "pause" && (stage == "Undo" || since != "" || paused || barred)
}

// overtaken is a status that does not have the undo floor yet that its command met.
func overtaken(one *Kept, answer Answer) bool {
	_, has, _ := unstructured.NestedInt64(one.Object, "status", "undo", "floor")
	return !has && strings.Contains(answer.Message, "removed parts of it")
}

func check(t *testing.T, one *Kept, name, script string, answer Answer, known bool) {
	t.Helper()
	changed := run(t, script, one.Object)
	metadata := changed["metadata"].(map[string]any)
	annotations := metadata["annotations"].(map[string]any)
	said, _ := annotations["stepgate.io/"+name].(string)
	target, id, _ := strings.Cut(said, " ")
	if seconds, err := strconv.ParseInt(strings.TrimPrefix(id, "argocd-"), 10, 64); err != nil || seconds == 0 {
		t.Errorf("%s: %s has the id %q", one.Name, name, id)
	}
	if known && (!answer.Done || answer.Target != target) && !overtaken(one, answer) {
		t.Errorf("%s: %s is offered, bound to %s: %+v", one.Name, name, target, answer)
	}
	// Nothing but the annotation is changed: Argo CD sends what differs.
	delete(annotations, "stepgate.io/"+name)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	before := run(t, "return obj", one.Object)
	if kept, _ := before["metadata"].(map[string]any)["annotations"].(map[string]any); kept != nil {
		delete(kept, "stepgate.io/"+name)
		if len(kept) == 0 {
			delete(before["metadata"].(map[string]any), "annotations")
		}
	}
	if !reflect.DeepEqual(before, changed) {
		t.Errorf("%s: %s changes more than its annotation", one.Name, name)
	}
}

// mentions says whether a text occurs anywhere in a value but in its messages.
func mentions(value any, text string) bool {
	switch value := value.(type) {
	case map[string]any:
		for key, one := range value {
			if key != "message" && mentions(one, text) {
				return true
			}
		}
	case []any:
		for _, one := range value {
			if mentions(one, text) {
				return true
			}
		}
	case string:
		return value == text
	}
	return false
}
