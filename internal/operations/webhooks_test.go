package operations

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// Each webhook has its metrics, two of the same name by owner.
func TestWebhookMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(webhooks{func() []webhook.Status {
		return []webhook.Status{
			{Hook: webhook.Hook{Name: "crm"}, Delivered: 1, Failed: 2, Retried: 3, Dead: 4, Lost: 5, Waiting: 6, Letters: 7, NoRoom: true, Disabled: true},
			{Hook: webhook.Hook{Name: "crm", Owner: "alice"}},
		}
	}})
	families, err := registry.Gather()
	if err != nil || len(families) != 9 {
		t.Fatal(families, err)
	}
	var got []string
	for _, f := range families {
		if len(f.GetMetric()) != 2 {
			t.Error(f)
		}
		got = append(got, strings.ReplaceAll(f.GetMetric()[0].String(), " ", ""))
	}
	for i, want := range []string{"gauge:{value:7", "counter:{value:4", "counter:{value:1", "gauge:{value:1", "counter:{value:2", "counter:{value:5", "gauge:{value:1", "counter:{value:3", "gauge:{value:6"} {
		if !strings.Contains(got[i], want) || !strings.Contains(got[i], `name:"hook"value:"crm"`) {
			t.Errorf("%s: %s, want %s", families[i].GetName(), got[i], want)
		}
	}
}
