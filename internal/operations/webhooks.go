package operations

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// webhooks collects the metrics of webhooks, which come and go.
type webhooks struct{ list func() []webhook.Status }

// webhookMetric is a metric of each webhook.
type webhookMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*webhook.Status) int64
}

func ofWebhooks(name, help string, kind prometheus.ValueType, value func(*webhook.Status) int64) webhookMetric {
	return webhookMetric{prometheus.NewDesc("tr87proxy_webhook_"+name, help, []string{"hook", "owner"}, nil), kind, value}
}

var webhookMetrics = []webhookMetric{
	ofWebhooks("delivered_total", "Events delivered.", prometheus.CounterValue, func(s *webhook.Status) int64 { return s.Delivered }),
	ofWebhooks("failed_total", "Attempts to deliver that failed.", prometheus.CounterValue, func(s *webhook.Status) int64 { return s.Failed }),
	ofWebhooks("retried_total", "Failed attempts after which another follows.", prometheus.CounterValue, func(s *webhook.Status) int64 { return s.Retried }),
	ofWebhooks("dead_total", "Events that became dead letters.", prometheus.CounterValue, func(s *webhook.Status) int64 { return s.Dead }),
	ofWebhooks("lost_total", "Events that left the event log, or the dead letters, before they were delivered.", prometheus.CounterValue, func(s *webhook.Status) int64 { return s.Lost }),
	ofWebhooks("waiting", "Events that wait to be delivered.", prometheus.GaugeValue, func(s *webhook.Status) int64 { return s.Waiting }),
	ofWebhooks("dead_letters", "Dead letters that are kept.", prometheus.GaugeValue, func(s *webhook.Status) int64 { return int64(s.Letters) }),
	ofWebhooks("disabled", "1 when the hook is disabled.", prometheus.GaugeValue, func(s *webhook.Status) int64 { return oneIf(s.Disabled) }),
	ofWebhooks("no_room", "1 when there is no room to record the events that the hook wants.", prometheus.GaugeValue, func(s *webhook.Status) int64 { return oneIf(s.NoRoom) }),
}

func oneIf(holds bool) int64 {
	if holds {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (w webhooks) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range webhookMetrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (w webhooks) Collect(metrics chan<- prometheus.Metric) {
	list := w.list()
	for i := range list {
		for _, m := range webhookMetrics {
			metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(&list[i])), list[i].Name, list[i].Owner)
		}
	}
}
