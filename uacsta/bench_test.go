package uacsta_test

import (
	"testing"

	"github.com/beevik/etree"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// event is an event of 1 KB: a call that was forwarded twice.
func event() uacsta.DeliveredEvent {
	calling, called, network := uacsta.Ext("+14255550101"), uacsta.Ext("101"), uacsta.Ext("900")
	left := uacsta.Conn("4f2a_17", "101")
	return uacsta.DeliveredEvent{
		MonitorCrossRefID: "99fda87c", Connection: uacsta.Conn("4f2a_17", "103"), AlertingDevice: uacsta.Ext("103"), CallingDevice: calling, CalledDevice: called,
		LastRedirectionDevice: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev("102")}, LocalConnectionInfo: uacsta.Alerting,
		CorrelatorData: uacsta.Data{String: "c0ffee"}, Cause: uacsta.CauseCallForwardNoAnswer, AssociatedCallingDevice: &network, NetworkCallingDevice: &calling,
		DeviceHistory: []uacsta.DeviceHistoryListItem{
			{OldDeviceID: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev("101")}, EventCause: uacsta.CauseCallForwardImmediate, OldConnectionID: &left},
		},
	}
}

func delivered() []byte { return uacsta.Encode(event(), uacsta.Edition3).Bytes() }

func BenchmarkParse(b *testing.B) {
	data := delivered()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := uacsta.Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseEtree is the yardstick: etree's own parser on the same event.
func BenchmarkParseEtree(b *testing.B) {
	data := delivered()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := etree.NewDocument().ReadFromBytes(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRewrite is what the core does with every event for every client: parse, replace the device
// and the cross reference, write.
func BenchmarkRewrite(b *testing.B) {
	data := delivered()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		m, err := uacsta.Parse(data)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range m.Devices() {
			d.SetID("tel:+14255550100;ext=100")
		}
		m.SetCrossRef("99fda87d")
		m.Bytes()
	}
}

// devicePaths are the devices of the event, for those who do not know the schema.
var devicePaths = [][]string{
	{"connection", "deviceID"}, {"alertingDevice", "deviceIdentifier"}, {"callingDevice", "deviceIdentifier"}, {"calledDevice", "deviceIdentifier"},
	{"lastRedirectionDevice", "numberDialed"}, {"networkCallingDevice", "deviceIdentifier"}, {"associatedCallingDevice", "deviceIdentifier"},
	{"deviceHistory", "DeviceHistoryListItem", "oldDeviceID", "numberDialed"}, {"deviceHistory", "DeviceHistoryListItem", "oldConnectionID", "deviceID"},
}

func element(tb testing.TB, e *etree.Element, path []string) *etree.Element {
	for _, name := range path {
		if e = e.SelectElement(name); e == nil {
			tb.Fatal(path)
		}
	}
	return e
}

func BenchmarkRewriteEtree(b *testing.B) {
	data := delivered()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(data); err != nil {
			b.Fatal(err)
		}
		for _, path := range devicePaths {
			element(b, doc.Root(), path).SetText("tel:+14255550100;ext=100")
		}
		element(b, doc.Root(), []string{"monitorCrossRefID"}).SetText("99fda87d")
		if _, err := doc.WriteToBytes(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode reads the event into its struct.
func BenchmarkDecode(b *testing.B) {
	data := delivered()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var ev uacsta.DeliveredEvent
		m, err := uacsta.Parse(data)
		if err == nil {
			err = m.Decode(&ev)
		}
		if err != nil || ev.AlertingDevice.Device.ID != "103" {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEtree(b *testing.B) {
	data := delivered()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(data); err != nil {
			b.Fatal(err)
		}
		for _, path := range devicePaths {
			if element(b, doc.Root(), path).Text() == "" {
				b.Fatal(path)
			}
		}
		for _, name := range []string{"monitorCrossRefID", "localConnectionInfo", "cause"} {
			if element(b, doc.Root(), []string{name}).Text() == "" {
				b.Fatal(name)
			}
		}
	}
}

// BenchmarkEncode writes the event from its struct.
func BenchmarkEncode(b *testing.B) {
	ev := event()
	b.SetBytes(int64(len(delivered())))
	for b.Loop() {
		uacsta.Encode(ev, uacsta.Edition3).Bytes()
	}
}

func BenchmarkEncodeEtree(b *testing.B) {
	m, err := uacsta.Parse(delivered())
	if err != nil {
		b.Fatal(err)
	}
	var texts [][2]string
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(m.Bytes()); err != nil {
		b.Fatal(err)
	}
	var walk func(e *etree.Element)
	walk = func(e *etree.Element) {
		texts = append(texts, [2]string{e.Tag, e.Text()})
		for _, c := range e.ChildElements() {
			walk(c)
		}
		texts = append(texts, [2]string{})
	}
	walk(doc.Root())
	b.SetBytes(int64(len(delivered())))
	for b.Loop() {
		doc := etree.NewDocument()
		doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
		at := &doc.Element
		for _, t := range texts {
			if t[0] == "" {
				at = at.Parent()
				continue
			}
			at = at.CreateElement(t[0])
			if t[1] != "" {
				at.SetText(t[1])
			}
		}
		doc.Root().CreateAttr("xmlns", uacsta.NamespaceED3)
		if _, err := doc.WriteToBytes(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshalJSON(b *testing.B) {
	m := uacsta.Encode(event(), uacsta.Edition3)
	b.SetBytes(int64(len(m.Bytes())))
	for b.Loop() {
		if _, err := m.MarshalJSON(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseJSON(b *testing.B) {
	data, err := uacsta.Encode(event(), uacsta.Edition6).MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := uacsta.ParseJSON(data); err != nil {
			b.Fatal(err)
		}
	}
}
