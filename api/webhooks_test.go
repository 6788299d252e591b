package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// somePatterns returns different patterns of devices.
func somePatterns(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%d*", 5000+i))
	}
	return list
}

func (o *office) hook(method, path, body string) (status int, h WebhookStatus, text string) {
	o.Helper()
	w := o.send(o.Context(), method, "/v1/webhooks"+path, typeJSON, body)
	_ = json.Unmarshal(w.Body.Bytes(), &h) // 204 has none
	return w.Code, h, w.Body.String()
}

// A webhook for whose events there is no room is refused, and takes no room. One that finds none after a restart says so,
// and gets it later.
func TestRoomForWebhooks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events.db")
	add := func(o *office, name string, devices []string) (int, string) {
		o.Helper()
		body, err := json.Marshal(Webhook{Name: name, URL: "https://crm.contoso.com/", Devices: devices})
		if err != nil {
			o.Fatal(err)
		}
		status, _, text := o.hook(http.MethodPost, "", string(body))
		return status, text
	}
	t.Run("added", func(t *testing.T) {
		o := newOffice(t, func(s *Settings) { s.Events.File = file })
		if status, text := add(o, "many", somePatterns(record.MostPatterns)); status != http.StatusCreated {
			t.Fatal(text)
		}
		if status, text := add(o, "more", []string{"1*"}); status != http.StatusTooManyRequests || !strings.Contains(text, "no room") {
			t.Errorf("%d %s", status, text)
		}
		if status, _, text := o.hook(http.MethodGet, "/more", ""); status != http.StatusNotFound {
			t.Errorf("%d %s", status, text)
		}
		if status, h, text := o.hook(http.MethodGet, "/many", ""); status != http.StatusOK || h.NoRoom || len(h.Devices) != record.MostPatterns || h.Secrets != nil {
			t.Errorf("%d %s", status, text)
		}
		if status, _, text := o.hook(http.MethodDelete, "/many", ""); status != http.StatusNoContent {
			t.Errorf("%d %s", status, text)
		}
		if status, text := add(o, "more", []string{"1*"}); status != http.StatusCreated {
			t.Errorf("%d %s", status, text)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		o := newOffice(t, func(s *Settings) {
			s.Events.File = file
			s.Webhooks = []webhook.Hook{{Name: "all", URL: "https://crm.contoso.com/", Devices: somePatterns(4 * record.MostPatterns)}}
		})
		waits := func() bool {
			_, h, _ := o.hook(http.MethodGet, "/more", "")
			return h.NoRoom
		}
		wait.For(t, "the webhook to wait for room", waits)
		w := o.server.webhooks
		w.mu.Lock()
		w.wants[[2]string{"", "all"}]()
		w.mu.Unlock()
		w.wantAll(w.List("127.0.0.1"))
		if waits() {
			t.Error("there is room, and the webhook waits")
		}
	})
}
