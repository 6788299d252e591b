package daemon

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// A name alone means the webhook of the configuration, and never one that a client has given this name.
func TestOwnerOf(t *testing.T) {
	list := []webhook.Status{{Hook: webhook.Hook{Name: "crm"}}, {Hook: webhook.Hook{Name: "crm", Owner: "alice"}}, {Hook: webhook.Hook{Name: "own", Owner: "bob"}}}
	configuration, alice, bob, carol := "", "alice", "bob", "carol"
	for _, tt := range []struct {
		name  string
		owner *string
		want  string
		fault string
	}{
		{"own", nil, "", "the configuration has no webhook own; to mean that of a client, name its owner with --owner: bob"},
		{"own", &bob, "bob", ""},
		{"crm", nil, "", ""},
		{"crm", &configuration, "", ""},
		{"crm", &alice, "alice", ""},
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
