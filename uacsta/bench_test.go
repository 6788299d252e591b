package uacsta_test

import (
	"testing"

	"github.com/beevik/etree"

	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// delivered is an event of the usual size.
func delivered(tb testing.TB) []byte {
	for _, s := range samples.All {
		if s.Root == "DeliveredEvent" {
			return []byte(s.Wire)
		}
	}
	tb.Fatal("no sample")
	return nil
}

func BenchmarkParse(b *testing.B) {
	data := delivered(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := uacsta.Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseEtree is the yardstick: etree's own parser on the same event.
func BenchmarkParseEtree(b *testing.B) {
	data := delivered(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := etree.NewDocument().ReadFromBytes(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	data := delivered(b)
	for b.Loop() {
		m, err := uacsta.Parse(data)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range m.Devices() {
			d.SetID("tel:+14255550100;ext=100")
		}
		m.SetCrossRef("99fda87c")
		m.Bytes()
	}
}

func BenchmarkEncode(b *testing.B) {
	ev := uacsta.HeldEvent{
		MonitorCrossRefID: "7", HeldConnection: uacsta.Conn("55", "1001"), HoldingDevice: uacsta.Ext("1001"),
		LocalConnectionInfo: uacsta.Hold, Cause: uacsta.CauseNormal,
	}
	for b.Loop() {
		uacsta.Encode(ev, uacsta.Edition3)
	}
}
