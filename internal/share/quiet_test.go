package share

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := Quiet(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).With("link", "pbx")
		for n := range 1000 {
			log.Warn("strange", "n", n)
			log.WithGroup("g").Warn("strange", "n", n)
			log.Error("strange", "n", n)
		}
		log.Debug("strange")
		log.Debug("strange")
		time.Sleep(time.Second)
		log.Warn("strange", "n", "later")
		var got []string
		for l := range strings.Lines(out.String()) {
			_, l, _ = strings.Cut(strings.TrimSpace(l), " ") // the time
			got = append(got, l)
		}
		want := []string{
			"level=WARN msg=strange link=pbx n=0", "level=ERROR msg=strange link=pbx n=0", "level=DEBUG msg=strange link=pbx", "level=DEBUG msg=strange link=pbx",
			"level=WARN msg=strange link=pbx n=later suppressed=1999",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}

// What happens to one subject does not hide what happens to another; many subjects share ten lines a second.
func TestQuietOfSubjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := Quiet(slog.New(slog.NewTextHandler(&out, nil)))
		for range 100 {
			log.With("hook", "a").Warn("fails")
			log.With("hook", "b", "owner", "crm").Warn("fails")
		}
		if a, b := strings.Count(out.String(), "hook=a"), strings.Count(out.String(), "hook=b"); a != 1 || b != 1 {
			t.Errorf("%d lines about a, %d about b", a, b)
		}
		time.Sleep(10 * time.Second)
		out.Reset()
		for n := range 5000 {
			log.With("hook", n).Warn("fails")
		}
		if lines := strings.Count(out.String(), "\n"); lines != kindRate {
			t.Errorf("%d lines", lines)
		}
	})
}
