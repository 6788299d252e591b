package phones

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// sound is a WAV file of so many samples of silence.
func sound(samples int) []byte {
	b := append([]byte("RIFF\x00\x00\x00\x00WAVEfmt "), 16, 0, 0, 0, 1, 0, 1, 0)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 16000)
	b = append(b, 2, 0, 16, 0)
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), uint32(2*samples))
	return append(b, make([]byte, 2*samples)...)
}

// A disk that does not answer keeps nobody waiting but the calls that play what it has, and what is
// to be done with the voice of one call is done in order.
func TestSlowDisk(t *testing.T) {
	dir := t.TempDir()
	slow := filepath.Join(dir, "slow.wav")
	if err := syscall.Mkfifo(slow, 0o600); err != nil { // opening it waits for whoever writes
		t.Skip(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hello.wav"), sound(8000), 0o600); err != nil {
		t.Fatal(err)
	}
	sw, err := softswitch.New(softswitch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Switch: sw, Messages: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.mu.Lock()
	for _, id := range []string{"1", "2"} {
		s.note([]softswitch.View{{Call: id}})
		s.calls[id].room = s.engine.NewRoom()
	}
	one, two := s.calls["1"], s.calls["2"]
	s.mu.Unlock()
	behind := func(c *call) chan struct{} {
		done := make(chan struct{})
		c.voice.Must(func() { close(done) })
		return done
	}
	plays := func(c *call, message int) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return c.plays[message] != nil
	}
	s.speak(softswitch.Voice{Call: "1", Message: 1, Play: "slow"})
	s.speak(softswitch.Voice{Call: "1", Message: 2, Play: "hello"})
	s.speak(softswitch.Voice{Call: "1", Message: 1, Stop: true})
	first := behind(one)
	s.speak(softswitch.Voice{Call: "2", Message: 3, Play: "hello", Limit: time.Hour})
	wait.Next(t, behind(two), "the message of another call")
	if !plays(two, 3) || plays(one, 2) {
		t.Error("the message behind one that is being read, or not that of another call")
	}
	f, err := os.OpenFile(slow, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(sound(80)); err != nil {
		t.Error(err)
	}
	_ = f.Close()
	wait.Next(t, first, "the messages of the call")
	if !plays(one, 2) || plays(one, 1) {
		t.Error("the messages of a call are not played in order")
	}
}
