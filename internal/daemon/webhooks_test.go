package daemon

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// A webhook is found by its name, and by its owner where several have one of this name.
func TestOwnerOf(t *testing.T) {
	list := []webhook.Status{{Hook: webhook.Hook{Name: "crm"}}, {Hook: webhook.Hook{Name: "crm", Owner: "alice"}}, {Hook: webhook.Hook{Name: "own", Owner: "bob"}}}
	configuration, alice, carol := "", "alice", "carol"
	for _, tt := range []struct {
		name  string
		owner *string
		want  string
		fault string
	}{
		{"own", nil, "bob", ""},
		{"crm", &configuration, "", ""},
		{"crm", &alice, "alice", ""},
		{"crm", nil, "", `several owners have a webhook crm; name one with --owner: "" (the configuration), alice`},
		{"crm", &carol, "", "there is no such webhook: crm"},
		{"own", &configuration, "", "there is no such webhook: own"},
		{"none", nil, "", "there is no such webhook: none"},
	} {
		owner, err := ownerOf(list, tt.name, tt.owner)
		if owner != tt.want || (err == nil) != (tt.fault == "") || err != nil && !strings.HasPrefix(err.Error(), tt.fault) {
			t.Errorf("%s: %q, %v", tt.name, owner, err)
		}
	}
}
