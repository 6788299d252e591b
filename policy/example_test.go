package policy_test

import (
	"fmt"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Rules are tried in order, and the first one that applies decides.
func ExamplePolicy_Explain() {
	numbers := &policy.Numbers{Main: "+1425555", Extensions: func(number string) bool { return len(number) == 4 }}
	desk, err := numbers.Parse("tel:+14255550100", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	abroad, err := numbers.Parse("+44 20 7946 0000", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	p := &policy.Policy{Rules: []policy.Rule{
		{Name: "no calls abroad", Deny: true, Destinations: []string{"+44*"}},
		{Name: "crm", Who: []string{"crm"}, May: []string{"control"}, Devices: []string{"0100-0199"}, Destinations: []string{"*"}},
	}}

	crm := policy.Identity{Name: "crm", How: "account"}
	watch := policy.Request{Who: crm, Action: policy.Observe, Service: "MonitorStart", Device: desk}
	decision, trials := p.Explain(watch)
	fmt.Println(decision.Allowed, "-", decision.Reason)
	for _, trial := range trials {
		fmt.Printf("  %s: %s\n", trial.Rule, trial.Why)
	}

	call := policy.Request{Who: crm, Action: policy.Control, Service: "MakeCall", Device: desk, Destinations: []policy.Number{abroad}}
	fmt.Println(p.Decide(call).Reason)
	// Output:
	// true - allowed by crm
	//   no calls abroad: it names other destinations
	// denied by no calls abroad
}

// Parse reads the ways in which clients write one number.
func ExampleNumbers_Parse() {
	rule, err := policy.ParseNumberRule("00x.", 2, "+", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	numbers := &policy.Numbers{
		Main:       "+1425555",
		Extensions: func(number string) bool { return len(number) == 4 },
		Rules:      policy.NumberRules{rule},
	}
	for _, written := range []string{"0100", "tel:+1-425-555-0100", "sip:+14255550100@example.com;user=phone", "00442079460000", "tel:0100;isub=1"} {
		number, err := numbers.Parse(written, "")
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(number)
	}
	fmt.Println(numbers.Client("0100"))
	// Output:
	// 0100
	// 0100
	// 0100
	// +442079460000
	// cannot be read as a number: it has an unknown parameter
	// tel:+14255550100
}

// Trace shows which rules a link applies to a number.
func ExampleNumberRules_Trace() {
	var rules policy.NumberRules
	for _, r := range []struct {
		match string
		strip int
		add   string
	}{{"+1xxxxxxxxxx", 2, "9"}, {"+x.", 1, "9011"}} {
		rule, err := policy.ParseNumberRule(r.match, r.strip, r.add, "")
		if err != nil {
			fmt.Println(err)
			return
		}
		rules = append(rules, rule)
	}
	number, steps := rules.Trace("+442079460000")
	for _, step := range steps {
		fmt.Println(step.Rule, step.Fits)
	}
	fmt.Println(number)
	// Output:
	// +1xxxxxxxxxx false
	// +x. true
	// 9011442079460000
}
