package cstaxml

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// characters is a frame whose length counts characters.
func characters(id, document string) string {
	frame := []byte(raw(id, document))
	length := headerSize + utf8.RuneCountInString(document)
	frame[2], frame[3] = byte(length>>8), byte(length)
	return string(frame)
}

// A peer that counts characters in the length is understood, whatever its frames are cut into, and so is the frame after it.
func TestLengthInCharacters(t *testing.T) {
	const document = "<RequestSystemStatus><extensions><privateData><private><x>Gr\u00fc\u00df \u4e2d\U0001f600</x></private></privateData></extensions></RequestSystemStatus>"
	whole := characters("0001", document) + characters("0002", document) + raw("0003", question)
	for _, cut := range []int{1, 8, len(whole) / 3, len(characters("0001", document)) - 3, len(whole)} {
		var log strings.Builder
		onBench(t, gate.Limits{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(b *bench) {
			b.write(whole[:cut], whole[cut:])
			b.expect("0001 RequestSystemStatusResponse", "0002 RequestSystemStatusResponse", "0003 RequestSystemStatusResponse")
		})
		if !strings.Contains(log.String(), "counts characters") {
			t.Error(log.String())
		}
	}
}

// A last document whose rest has not come is waited for; one that cannot be read for another reason is refused soon, and what
// comes after it is read.
func TestDocumentWithoutRest(t *testing.T) {
	onBench(t, gate.Limits{}, func(b *bench) {
		b.write(raw("0001", "<a>\u00fc\u00fc"))
		time.Sleep(restTime + time.Millisecond)
		b.expect("0001 CSTAErrorCode")
		b.write(raw("0002", "<a>\u00fc\u00fc"), raw("0003", question)) // its rest would be the next frame
		b.expect("0002 CSTAErrorCode", "0003 RequestSystemStatusResponse")
	})
}

// Where the next header cannot be found, the reason says what is wrong.
func TestLengthWithoutHeader(t *testing.T) {
	onBench(t, gate.Limits{}, func(b *bench) {
		_, _ = io.WriteString(b.peer, characters("0001", "<a>\u00fc\u00fc</b>")+"more and more")
		synctest.Wait()
		err := <-b.done
		b.done <- err
		if err == nil || !strings.Contains(err.Error(), "counts characters") {
			t.Error(err)
		}
	})
}
