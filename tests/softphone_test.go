package tests

import (
	"bufio"
	"bytes"
	octets "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// softphone is a baresip that plays a tone, and writes what it hears into files.
type softphone struct {
	*process
	number  string
	control net.Conn
	dir     string

	mu     sync.Mutex
	events []string // types of its events, in order
}

// Each phone says a tone of its own; music and messages have theirs.
var tones = map[string]float64{"100": 550, "101": 700, "102": 1000, "103": 1150, "104": 1250, "music": 1400, "message": 1700, "ringback": 425}

// baresip starts a telephone that registers for a number. mode is manual or auto. media may be a module that encrypts
// its voice.
func baresip(t *testing.T, registrar int, number, password, mode string, media ...string) *softphone {
	t.Helper()
	name := tool(t, "baresip")
	modules := filepath.Dir(found(t, "/usr/lib/baresip/modules/g711.so", "/usr/lib/*/baresip/modules/g711.so"))
	p := &softphone{number: number, dir: t.TempDir()}
	voice := filepath.Join(p.dir, "voice")
	if err := os.Mkdir(voice, 0o700); err != nil {
		t.Fatal(err)
	}
	writeTone(t, filepath.Join(p.dir, "tone.wav"), tones[number])
	count := phoneCount()
	control, port, rtp := freePort(t), twoPorts(t), 28000+40*(count%110)
	config := fmt.Sprintf(`module_path %s
sip_listen 127.0.0.1:%d
audio_player aubridge,p
audio_source aufile,%s/tone.wav
audio_alert aubridge,a
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports %d-%d
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:%d
snd_path %s
statmode_default off
`, modules, port, p.dir, rtp, rtp+38, control, voice)
	account := fmt.Sprintf("<sip:%s@127.0.0.1:%d;transport=udp>;auth_pass=%s;regint=60;answermode=%s;audio_codecs=PCMA,PCMU", number, registrar, password, mode)
	for _, name := range media {
		config += "module " + name + ".so\n"
		account += ";mediaenc=" + name
	}
	for file, text := range map[string]string{"config": config, "accounts": account + "\n", "contacts": ""} {
		if err := os.WriteFile(filepath.Join(p.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.process = start(t, name, "-f", p.dir)
	waitFor(t, "the control port of a telephone", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", control))
		p.control = conn
		return err == nil
	})
	t.Cleanup(func() { _ = p.control.Close() })
	go p.listen()
	return p
}

// given lists ports that twoPorts has returned, so that it does not return them again before a program
// listens on them.
var given sync.Map

// twoPorts returns the first of two consecutive ports, which a baresip uses for SIP, below those
// that freePort returns.
func twoPorts(t *testing.T) int {
	t.Helper()
	free := func(port int) bool {
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			return false
		}
		_ = l.Close()
		pc, err := net.ListenPacket("udp", address)
		if err != nil {
			return false
		}
		_ = pc.Close()
		return true
	}
	for range 200 {
		port := 25000 + 2*rand.IntN(1400)
		if free(port) && free(port+1) {
			if _, twice := given.LoadOrStore(port, true); !twice {
				return port
			}
		}
	}
	t.Fatal("no two free ports")
	return 0
}

var phonesMade struct {
	sync.Mutex
	n int
}

func phoneCount() int {
	phonesMade.Lock()
	defer phonesMade.Unlock()
	phonesMade.n++
	return phonesMade.n % 500
}

func found(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		if files, _ := filepath.Glob(pattern); len(files) > 0 {
			return files[0]
		}
	}
	t.Fatalf("none of %v is there", patterns)
	return ""
}

// listen reads the events of a telephone: netstrings of JSON.
func (p *softphone) listen() {
	r := bufio.NewReader(p.control)
	for {
		length, err := r.ReadString(':')
		n, fault := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(length, ","), ":"))
		if err != nil || fault != nil {
			return
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		var message struct{ Type string }
		if json.Unmarshal(data, &message) == nil && message.Type != "" {
			p.mu.Lock()
			p.events = append(p.events, message.Type)
			p.mu.Unlock()
		}
	}
}

// do sends a telephone a command, as its user would by keys.
func (p *softphone) do(command, params string) {
	p.t.Helper()
	data, _ := json.Marshal(map[string]string{"command": command, "params": params})
	if _, err := fmt.Fprintf(p.control, "%d:%s,", len(data), data); err != nil {
		p.t.Error(err)
	}
}

// count returns how many events of a kind there were.
func (p *softphone) count(event string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, e := range p.events {
		if e == event {
			n++
		}
	}
	return n
}

// sees waits for the n-th event of a kind.
func (p *softphone) sees(event string, n int) {
	p.t.Helper()
	waitFor(p.t, fmt.Sprintf("%s number %d at %s", event, n, p.number), func() bool { return p.count(event) >= n })
}

// lately returns the last quarter of a second of what a telephone has heard in its newest call, the file with
// everything that it has heard there, and its length in octets.
func (p *softphone) lately() (samples []int16, file string, all int) {
	files, _ := filepath.Glob(filepath.Join(p.dir, "voice", "*-dec.wav"))
	if len(files) == 0 {
		return nil, "", 0
	}
	file = slices.MaxFunc(files, func(a, b string) int { return strings.Compare(modified(a), modified(b)) })
	data, err := os.ReadFile(file)
	const header, wanted = 44, 2000
	if err != nil || len(data) < header+2*wanted {
		return nil, file, len(data)
	}
	all = header + (len(data)-header)/2*2
	return pcm(data[all-2*wanted-header:]), file, len(data)
}

// pcm returns the samples of a WAV file, behind its header.
func pcm(data []byte) (samples []int16) {
	for tail := data[44:]; len(tail) >= 2; tail = tail[2:] {
		samples = append(samples, int16(octets.LittleEndian.Uint16(tail)))
	}
	return samples
}

func modified(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return info.ModTime().Format(time.RFC3339Nano) + file
}

// share is how much of the power of samples is at a frequency (Goertzel).
func share(samples []int16, hertz float64) float64 {
	coefficient := 2 * math.Cos(2*math.Pi*hertz/8000)
	var a, b, power float64
	for _, s := range samples {
		a, b = float64(s)+coefficient*a-b, a
		power += float64(s) * float64(s)
	}
	if power == 0 {
		return 0
	}
	return (a*a + b*b - coefficient*a*b) / (power * float64(len(samples)) / 2)
}

// heard lists the tones that a telephone hears now.
func (p *softphone) heard() []string {
	samples, _, _ := p.lately()
	var names []string
	for name, hertz := range tones {
		if share(samples, hertz) > 0.1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// hears waits until a telephone hears these tones, and no others; none is silence, or no voice at all.
func (p *softphone) hears(names ...string) {
	p.t.Helper()
	slices.Sort(names)
	const half = 8000 // octets of half a second
	_, file, before := p.lately()
	last, grown := before, time.Now()
	deadline := grown.Add(patience)
	for {
		now := p.heard()
		_, newest, all := p.lately()
		if newest != file {
			file, before, last = newest, 0, 0
		}
		if all > last {
			last, grown = all, time.Now()
		}
		silent := time.Since(grown) > 500*time.Millisecond
		if len(names) == 0 && (silent || len(now) == 0) || slices.Equal(now, names) && all > before+half {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s hears %v, want %v", p.number, now, names)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// writeTone writes ten minutes of a tone, of a whole number of hertz: a baresip ends its call with the file.
func writeTone(t *testing.T, file string, hertz float64) {
	t.Helper()
	const seconds, samples = 600, 8000
	b := []byte("RIFF")
	order := octets.LittleEndian
	b = order.AppendUint32(b, 36+2*samples*seconds)
	b = append(b, "WAVEfmt "...)
	b = order.AppendUint32(b, 16)
	for _, v := range []uint16{1, 1, samples, 0, 2 * samples, 0, 2, 16} {
		b = order.AppendUint16(b, v)
	}
	b = append(b, "data"...)
	b = order.AppendUint32(b, 2*samples*seconds)
	var second []byte
	for i := range samples {
		second = order.AppendUint16(second, uint16(int16(6000*math.Sin(2*math.Pi*hertz*float64(i)/samples))))
	}
	if err := os.WriteFile(file, append(b, bytes.Repeat(second, seconds)...), 0o600); err != nil {
		t.Fatal(err)
	}
}
