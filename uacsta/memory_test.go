package uacsta_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The memory for a document is in proportion to what is accepted of it: one that is refused at its
// second octet takes little more than its text, and a peer with a small limit takes little.
func TestMemory(t *testing.T) {
	fill := func(head, piece, tail string, size int) string {
		return head + strings.Repeat(piece, (size-len(head)-len(tail))/len(piece)) + tail
	}
	if _, err := uacsta.Parse([]byte("<RequestSystemStatus/>")); err != nil { // the grammar is made once
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		document string
		elements int
		most     uint64 // octets
		want     error
	}{
		"tags that are none":     {strings.Repeat("<", 65500), uacsta.MaxElements, 150 << 10, uacsta.ErrSyntax},
		"refused late":           {fill("<a>", "<b/>", "<", 65500), uacsta.MaxElements, 2 << 20, uacsta.ErrTooManyElements},
		"comments":               {fill("<a>", "<!---->", "</a>", 65500), uacsta.MaxElements, 2 << 20, uacsta.ErrTooManyElements},
		"instructions":           {fill("<a>", "<?a?>", "</a>", 65500), uacsta.MaxElements, 2 << 20, uacsta.ErrTooManyElements},
		"elements of a stranger": {fill("<a>", "<b/>", "</a>", 4096), 128, 100 << 10, uacsta.ErrTooManyElements},
		"texts of a stranger":    {fill("<a>", "<b>c</b>", "</a>", 128*8), 128, 100 << 10, nil},
		"attributes":             {fill("<a>", "<b c='' d='' e='' f='' g='' h='' i='' j='' k='' l='' m='' n='' o='' p='' q='' r='' s='' t='' u='' v='' w='' x='' y='' z=''/>", "</a>", 4096), 128, 180 << 10, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := uacsta.ParseWithin([]byte(tt.document), tt.elements)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, not %v", err, tt.want)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > tt.most {
				t.Errorf("%d octets for a document of %d", took, len(tt.document))
			} else {
				t.Logf("%d octets for a document of %d", took, len(tt.document))
			}
		})
	}
}
