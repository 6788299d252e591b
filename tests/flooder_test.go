package tests

import (
	octets "encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// flooderVariable makes a test process a flooder. It has the lowest priority, because a real flood
// does not use the proxy's processor.
const flooderVariable = "TR87_FLOODER"

// flooder starts a flood of a kind at a port. It prints a line when it has started, and floods until
// it is killed.
func flooder(t *testing.T, kind string, port int) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, tool(t, "nice"), "-n", "19", "env", flooderVariable+"="+fmt.Sprintf("%d %s", port, kind), self)
	waitFor(t, "the flood", func() bool { return strings.Contains(p.out.String(), "flooding") })
	return p
}

// end kills a flooder and waits until it has ended.
func (p *process) end() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.wait(patience)
}

// flood floods as the variable says, without end.
func flood(what string) {
	port, kind, _ := strings.Cut(what, " ")
	target := "127.0.0.1:" + port
	f := kindsOfFlood[kind]
	if f == nil {
		fmt.Println("no such flood:", kind)
		os.Exit(2)
	}
	fmt.Println("flooding")
	f(target)
}

// kindsOfFlood lists the kinds of floods, which come from strangers at four addresses.
var kindsOfFlood = map[string]func(target string){
	"INVITE":      func(target string) { datagrams(target, stranger("INVITE")) },
	"OPTIONS":     func(target string) { datagrams(target, stranger("OPTIONS")) },
	"REGISTER":    func(target string) { datagrams(target, stranger("REGISTER")) },
	"SUBSCRIBE":   func(target string) { datagrams(target, stranger("SUBSCRIBE")) },
	"connections": func(target string) { knock(target, 500, nil, false) },
	"half TLS": func(target string) {
		knock(target, 500, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), false)
	},
	"XML":  func(target string) { knock(target, 100, badXML(), true) },
	"PBX":  floodingPBX,
	"sink": sink,
}

// sink reads everything, and sends nothing.
func sink(address string) {
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	go func() {
		for buffer := make([]byte, 65536); ; {
			_, _, _ = pc.ReadFrom(buffer)
		}
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
	}
}

// floodFrom lists the addresses from which floods come.
var floodFrom = []string{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"}

// stranger returns valid requests of an unknown client, as short as possible.
func stranger(method string) func(from string, n int) []byte {
	more := map[string]string{"INVITE": "Contact: <sip:a@127.0.0.1:9>\r\n", "REGISTER": "Contact: <sip:a@127.0.0.1:9>\r\n", "SUBSCRIBE": "Contact: <sip:a@127.0.0.1:9>\r\nEvent: dialog\r\n"}[method]
	return func(from string, n int) []byte {
		return fmt.Appendf(nil, "%[1]s sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s:9;branch=z9hG4bK%[3]d;rport\r\nFrom: <sip:100@x>;tag=%[3]d\r\nTo: <sip:100@x>\r\nCall-ID: %[3]d@%[2]s\r\nCSeq: 1 %[1]s\r\nMax-Forwards: 70\r\n%[4]sContent-Length: 0\r\n\r\n", method, from, n, more)
	}
}

// datagrams sends datagrams from every address as fast as possible, and reads no responses.
func datagrams(target string, text func(from string, n int) []byte) {
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		panic(err)
	}
	var group sync.WaitGroup
	for _, from := range floodFrom {
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, to)
		if err != nil {
			panic(err)
		}
		_ = conn.SetReadBuffer(0)
		group.Go(func() {
			for n := 0; ; n++ {
				_, _ = conn.Write(text(from, n))
			}
		})
	}
	group.Wait()
}

// knock holds a number of connections from every address, each of which sends something, once
// or repeatedly, and opens another for each that is closed.
func knock(target string, many int, say []byte, again bool) {
	var group sync.WaitGroup
	for n := range many * len(floodFrom) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(floodFrom[n%len(floodFrom)])}, Timeout: time.Second}
		group.Go(func() {
			for {
				conn, err := dialer.Dial("tcp", target)
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				_, err = conn.Write(say)
				for again && err == nil {
					_, err = conn.Write(say)
				}
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}
		})
	}
	group.Wait()
}

// frameOf returns a frame of CSTA-XML.
func frameOf(id, document string) []byte {
	return append(append(octets.BigEndian.AppendUint16([]byte{0, 0}, uint16(8+len(document))), id...), document...)
}

// badXML lists what a stranger must not send: an invalid document, a response to no request, an
// event, a request, and as many elements as a frame holds.
func badXML() []byte {
	var b []byte
	for _, document := range []string{
		"no document", "<MakeCallResponse " + csta + "/>", "<SystemStatus " + csta + "><systemStatus>normal</systemStatus></SystemStatus>",
		"<SnapshotDevice " + csta + "><snapshotObject>1000</snapshotObject></SnapshotDevice>", strings.Repeat("<", 65500),
	} {
		b = append(b, frameOf("0001", document)...)
	}
	return b
}

// floodingPBX is a switch that responds to essential requests, and sends everything that nobody has
// asked for, as fast as it is read.
func floodingPBX(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer conn.Close()
			var mu sync.Mutex
			write := func(data []byte) error {
				mu.Lock()
				defer mu.Unlock()
				_, err := conn.Write(data)
				return err
			}
			go func() {
				status := func(what string) []byte {
					return frameOf("9999", "<SystemStatus "+csta+"><systemStatus>"+what+"</systemStatus></SystemStatus>")
				}
				noise := badXML()
				noise = append(noise, frameOf("9999", "<DeliveredEvent "+csta+"><monitorCrossRefID>77</monitorCrossRefID></DeliveredEvent>")...)
				noise = append(noise, append(status("overloadImminent"), status("normal")...)...)
				for write(noise) == nil {
				}
			}()
			header := make([]byte, 8)
			for {
				if _, err := io.ReadFull(conn, header); err != nil {
					return
				}
				document := make([]byte, octets.BigEndian.Uint16(header[2:])-8)
				if _, err := io.ReadFull(conn, document); err != nil {
					return
				}
				var answer string
				switch text := string(document); {
				case strings.Contains(text, "RequestSystemStatus"):
					answer = "<RequestSystemStatusResponse " + csta + "><systemStatus>normal</systemStatus></RequestSystemStatusResponse>"
				case strings.Contains(text, "MonitorStart"):
					answer = "<MonitorStartResponse " + csta + "><monitorCrossRefID>77</monitorCrossRefID></MonitorStartResponse>"
				default:
					answer = "<CSTAErrorCode " + csta + "><operation>generic</operation></CSTAErrorCode>"
				}
				if write(frameOf(string(header[4:]), answer)) != nil {
					return
				}
			}
		}()
	}
}
