package actors

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// diagramBox is a rectangle of the system's diagram, with a title and lines below it.
type diagramBox struct {
	x, y, w, h int
	title      string
	lines      []string
	class      string
}

// diagramArrow leads from one point to another; its label is above it.
type diagramArrow struct {
	x1, y1, x2, y2 int
	label          string
}

// actorBoxes has a box for each child of the supervision table.
var actorBoxes = map[string]diagramBox{
	"poller":     {230, 60, 130, 44, "poller", []string{"reserve, confirm"}, "actor"},
	"sse":        {230, 116, 130, 44, "sse", []string{"event stream"}, "actor"},
	"reporter":   {230, 172, 130, 44, "reporter", []string{"logs, results"}, "actor"},
	"dispatcher": {390, 88, 130, 44, "dispatcher", []string{"who runs where"}, "actor"},
	"recovery":   {390, 172, 130, 44, "recovery", []string{"after a restart"}, "actor"},
}

var otherBoxes = []diagramBox{
	{10, 60, 150, 156, "Release server", []string{"tasks, scripts,", "configuration"}, "outside"},
	{210, 24, 480, 262, "runnerd", nil, "frame"},
	{550, 88, 120, 44, "executor", []string{"one per container"}, "actor"},
	{550, 172, 120, 44, "gateway", []string{"requests of plugins"}, "adapter"},
	{230, 232, 440, 40, "spool", []string{"jobs, logs and results on disk"}, "adapter"},
	{750, 24, 160, 262, "Docker Engine", nil, "frame"},
	{768, 60, 124, 60, "executor", []string{"plugin container,", "at work"}, "outside"},
	{768, 132, 124, 60, "executor", []string{"plugin container,", "warm"}, "outside"},
}

var arrows = []diagramArrow{
	{160, 82, 230, 82, ""}, {160, 138, 230, 138, ""}, {230, 194, 160, 194, ""},
	{360, 82, 390, 104, ""}, {520, 110, 550, 110, ""}, {610, 132, 610, 172, ""},
	{670, 110, 768, 90, "create, start, stop"}, {768, 172, 670, 194, "GET, result"},
}

// The README shows this diagram. In addition to the actors of the supervision table, it has one of the executors' actors.
func TestDiagramShowsEveryActor(t *testing.T) {
	boxes := otherBoxes
	for _, child := range children {
		b, ok := actorBoxes[child.name]
		if !ok {
			t.Fatalf("the diagram has no box for the actor %q", child.name)
		}
		boxes = append(boxes, b)
	}
	if len(children) != len(actorBoxes) {
		t.Errorf("the diagram has boxes for %d actors, and the supervision table has %d", len(actorBoxes), len(children))
	}
	for file, colors := range map[string][4]string{
		"../docs/system-light.svg": {"#1f2328", "#eef4ff", "#f6f8fa", "#57606a"},
		"../docs/system-dark.svg":  {"#e6edf3", "#16243a", "#161b22", "#8b949e"},
	} {
		picture := drawSystem(boxes, colors)
		if *update {
			noError(t, os.WriteFile(file, []byte(picture), 0o644))
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != picture {
			t.Errorf("%s does not match the supervision table: run go test ./actors -update (%v)", file, err)
		}
	}
}

// drawSystem draws boxes and arrows in the colors of text, actors, other boxes and lines.
func drawSystem(boxes []diagramBox, colors [4]string) string {
	text, actor, other, line := colors[0], colors[1], colors[2], colors[3]
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 300" font-family="sans-serif" font-size="12" fill="%s">
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="%s"/></marker></defs>
`, text, line)
	for _, b := range boxes {
		fill, dash := map[string]string{"actor": actor, "frame": "none"}[b.class], ""
		if fill == "" {
			fill = other
		}
		if b.class == "frame" {
			dash = ` stroke-dasharray="4 3"`
		}
		fmt.Fprintf(&svg, `<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s" stroke="%s"%s/>`+"\n", b.x, b.y, b.w, b.h, fill, line, dash)
		y := b.y + 18
		if b.class == "frame" {
			y = b.y + 20
		}
		fmt.Fprintf(&svg, `<text x="%d" y="%d" text-anchor="middle" font-weight="bold">%s</text>`+"\n", b.x+b.w/2, y, b.title)
		for i, l := range b.lines {
			fmt.Fprintf(&svg, `<text x="%d" y="%d" text-anchor="middle" font-size="11">%s</text>`+"\n", b.x+b.w/2, y+16*(i+1), l)
		}
	}
	for _, a := range arrows {
		fmt.Fprintf(&svg, `<path d="M%d %d %d %d" fill="none" stroke="%s" marker-end="url(#tip)"/>`+"\n", a.x1, a.y1, a.x2, a.y2, line)
		if a.label != "" {
			fmt.Fprintf(&svg, `<text x="%d" y="%d" text-anchor="middle" font-size="10">%s</text>`+"\n", (a.x1+a.x2)/2, min(a.y1, a.y2)-4, a.label)
		}
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}
