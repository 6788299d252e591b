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
