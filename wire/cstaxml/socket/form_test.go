package socket

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

const document = `<?xml version="1.0" encoding="UTF-8"?><MakeCall/>`

func framedAs(length int, id, document string) string {
	return "\x00\x00" + string([]byte{byte(length >> 8), byte(length)}) + id + document
}

func codedAs(header, document string) string {
	return "\x0c" + base64.StdEncoding.EncodeToString([]byte(header)) + document
}

// A message becomes a frame in one way only, whatever it begins with; else it says why not. A frame becomes the message that
// its client would have written.
func TestForms(t *testing.T) {
	whole := framedAs(8+len(document), "0001", document)
	accented, accents := `<MakeCall>é</MakeCall>`, 22
	for _, c := range []struct {
		name   string
		binary bool
		zultys bool
		data   string
		form   form
		want   string // the frame
		fault  string
	}{
		{name: "a frame", binary: true, data: whole, form: framed, want: whole},
		{name: "a frame at a listener of zultys", binary: true, zultys: true, data: whole, form: framed, want: whole},
		{name: "a length of characters", binary: true, data: framedAs(8+accents, "0001", accented), form: framed, want: framedAs(8+accents+1, "0001", accented)},
		{name: "two frames", binary: true, data: whole + whole, fault: "a message is one frame"},
		{name: "half a frame", binary: true, data: whole[:20], fault: "a message is one frame"},
		{name: "a header alone", binary: true, data: whole[:8], fault: cstaxml.ErrLength.Error()},
		{name: "half a header", binary: true, data: whole[:5], fault: cstaxml.ErrLength.Error()},
		{name: "a document in octets", binary: true, data: document, fault: "begins with the header"},
		{name: "a number", data: "0042" + document, form: numbered, want: framedAs(8+len(document), "0042", document)},
		{name: "three digits", data: "042" + document, fault: "four digits"},
		{name: "five digits", data: "00042" + document, fault: "four digits"},
		{name: "a number alone", data: "0042", fault: cstaxml.ErrLength.Error()},
		{name: "a document", data: document, form: bare, want: framedAs(8+len(document), "0000", document)},
		{name: "a document after blanks", data: "\ufeff \r\n" + document, form: bare, want: framedAs(8+6+len(document), "0000", "\ufeff \r\n"+document)},
		{name: "no document", data: "hello", fault: "begins with four digits or a document"},
		{name: "JSON", data: `{"MakeCall": {}}`, fault: "begins with four digits or a document"},
		{name: "nothing", data: "", fault: "empty"},
		{name: "no UTF-8", data: "<MakeCall>\xff</MakeCall>", fault: "UTF-8"},
		{name: "a frame in text", data: whole, fault: "begins with four digits or a document"},
		{name: "another encoding of ASCII", data: `<?xml version="1.0" encoding="ISO-8859-1"?><A/>`, form: bare, want: framedAs(8+47, "0000", `<?xml version="1.0" encoding="ISO-8859-1"?><A/>`)},
		{name: "another encoding", data: `0001<?xml version="1.0" encoding='ISO-8859-1'?><A>é</A>`, fault: "ISO-8859-1"},
		{name: "base64 in text", zultys: true, data: codedAs(whole[:8], document), form: coded, want: whole},
		{name: "base64 in octets", binary: true, zultys: true, data: codedAs(whole[:8], document), form: codedOctets, want: whole},
		{name: "base64 with a length of characters", zultys: true, data: codedAs(framedAs(8+accents, "0001", ""), accented), form: coded, want: framedAs(8+accents+1, "0001", accented)},
		{name: "base64 elsewhere", data: codedAs(whole[:8], document), fault: "begins with four digits or a document"},
		{name: "half of base64", zultys: true, data: "\x0cAAAA", fault: "within its header"},
		{name: "no base64", zultys: true, data: "\x0c............" + document, fault: "no base64"},
		{name: "base64 of seven octets", zultys: true, data: codedAs(whole[:7], document), fault: "no base64 of eight octets"},
		{name: "the longest", data: "0001<" + strings.Repeat("a", 65535-8-1), form: numbered, want: framedAs(65535, "0001", "<"+strings.Repeat("a", 65535-8-1))},
		{name: "longer than a frame", data: "0001<" + strings.Repeat("a", 65535-8), fault: cstaxml.ErrTooLong.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind := websocket.MessageText
			if c.binary {
				kind = websocket.MessageBinary
			}
			got, err := formOf(kind, []byte(c.data), c.zultys)
			var frame []byte
			if err == nil {
				frame, err = got.frame([]byte(c.data))
			}
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%q, %v; want %s", frame, err, c.fault)
				}
				return
			}
			if err != nil || got != c.form || string(frame) != c.want {
				t.Fatalf("%s, %q, %v; want %s, %q", forms[got], frame, err, forms[c.form], c.want)
			}
			back, data := got.message(frame)
			again, err := got.frame(data)
			if f, _ := formOf(back, data, c.zultys); err != nil || back != kind || f != got || got != bare && string(again) != c.want {
				t.Errorf("back: %s %q, %v", back, data, err)
			}
		})
	}
}

// FuzzForms looks for a message that becomes something else than one whole frame with an ID, or that takes more than one frame.
func FuzzForms(f *testing.F) {
	f.Add(true, true, []byte(framedAs(8+len(document), "0001", document)))
	f.Add(false, true, []byte(codedAs(framedAs(20, "0001", ""), document)))
	f.Add(false, false, []byte("0001"+document))
	f.Add(false, false, []byte(document))
	f.Fuzz(func(t *testing.T, binary, zultys bool, data []byte) {
		kind := websocket.MessageText
		if binary {
			kind = websocket.MessageBinary
		}
		is, err := formOf(kind, data, zultys)
		if err != nil {
			return
		}
		document := strings.Clone(string(data))
		frame, err := is.frame(data)
		if err != nil {
			return
		}
		if len(frame) <= headerSize || int(frame[2])<<8+int(frame[3]) != len(frame) || !strings.HasSuffix(document, string(frame[headerSize:])) {
			t.Fatalf("%s: %q becomes %q", forms[is], data, frame)
		}
	})
}
