//go:build linux

package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Panel is one figure of a plot: a bar for each peer, all to the same scale from zero.
type Panel struct {
	Title string
	Bars  []Bar
}

// Bar is one peer's median, with a whisker from its lowest to its highest sample.
type Bar struct {
	Label string
	Role  Role
	Stat  Stat
	Bad   bool // lost or failed something
}

const (
	plotWidth   = 760
	labelWidth  = 150
	valueWidth  = 90
	barHeight   = 16
	barPitch    = 24
	panelHead   = 34
	plotHead    = 40
	plotMargin  = 16
	barRoomWide = plotWidth - labelWidth - valueWidth - 2*plotMargin
)

// plotStyle brings its own background, so that a plot can be read on any page; both palettes keep a contrast of 4.5.
const plotStyle = `<style>
.page{fill:#ffffff;stroke:#d0d7de}.title{fill:#1f2328;font:600 15px sans-serif}.head{fill:#59636e;font:12px sans-serif}
.label,.value{fill:#1f2328;font:12px sans-serif}.label{text-anchor:end}.whisker{stroke:#1f2328;stroke-width:1.5}
.product{fill:#0969da}.competitor{fill:#8c959f}.direct,.floor{fill:#d0d7de}.baseline{fill:#d4a72c}.bad{fill:#cf222e}
@media (prefers-color-scheme:dark){.page{fill:#0d1117;stroke:#3d444d}.title,.label,.value{fill:#f0f6fc}.head{fill:#9198a1}
.whisker{stroke:#f0f6fc}.product{fill:#388bfd}.competitor{fill:#6e7681}.direct,.floor{fill:#30363d}.baseline{fill:#9e6a03}.bad{fill:#f85149}}
</style>
`

// Plot draws panels below each other as an SVG document.
func Plot(title string, panels []Panel) string {
	height := plotHead + plotMargin
	for _, p := range panels {
		height += panelHead + len(p.Bars)*barPitch
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n",
		plotWidth, height, plotWidth, height, escape(title))
	b.WriteString(plotStyle)
	fmt.Fprintf(&b, `<rect class="page" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>`+"\n", plotWidth-1, height-1)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="26">%s</text>`+"\n", plotMargin, escape(title))
	y := plotHead
	for _, p := range panels {
		fmt.Fprintf(&b, `<text class="head" x="%d" y="%d">%s</text>`+"\n", plotMargin, y+20, escape(p.Title))
		y += panelHead
		p.draw(&b, y)
		y += len(p.Bars) * barPitch
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p Panel) draw(b *strings.Builder, top int) {
	scale := 0.0
	for _, bar := range p.Bars {
		scale = max(scale, bar.Stat.Max)
	}
	x := func(v float64) float64 {
		if scale <= 0 {
			return 0
		}
		return max(0, v) / scale * barRoomWide
	}
	left := plotMargin + labelWidth
	for i, bar := range p.Bars {
		y := top + i*barPitch
		middle := y + barHeight/2
		fmt.Fprintf(b, `<text class="label" x="%d" y="%d">%s</text>`, left-8, y+12, escape(bar.Label))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, bar.Role, left, y, x(bar.Stat.Median), barHeight)
		if bar.Stat.N > 1 {
			fmt.Fprintf(b, `<line class="whisker" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`,
				float64(left)+x(bar.Stat.Min), float64(left)+x(bar.Stat.Max), middle, middle)
		}
		class, text := "value", number(bar.Stat.Median)
		if bar.Bad {
			class, text = "value bad", text+" ✗ lost"
		}
		fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%d">%s</text>`+"\n", class, float64(left)+x(max(bar.Stat.Max, bar.Stat.Median))+6, y+12, escape(text))
	}
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder takes everything
	return b.String()
}
