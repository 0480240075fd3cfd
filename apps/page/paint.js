// Boxes and skeletons on a canvas, in the colours of the model.

const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
const ink = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 128 ? "#000" : "#fff");

/** Draws what was found; lines and letters keep their size on the screen whatever that of the picture. */
export function paint(canvas, found, model) {
  const context = canvas.getContext("2d");
  const unit = Math.max(canvas.width / (canvas.clientWidth || 1), canvas.height / (canvas.clientHeight || 1));
  context.lineJoin = context.lineCap = "round";
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  // The surest last, on top.
  for (let k = found.confidence.length - 1; k >= 0; k--) {
    if (model.finds === "poses") pose(context, unit, found, model, k);
    else box(context, unit, found, model, k);
  }
}

function box(context, unit, found, model, k) {
  const [x1, y1, x2, y2] = found.xyxy[k];
  const colour = model.colours[found.class_id[k]];
  context.strokeStyle = context.fillStyle = css(colour);
  context.lineWidth = 2.5 * unit;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  const text = `${found.name[k]} ${found.confidence[k].toFixed(2)}`;
  const wide = context.measureText(text).width + 10 * unit;
  const high = 20 * unit;
  const x = Math.max(0, Math.min(x1 - context.lineWidth / 2, context.canvas.width - wide));
  const y = y1 >= high ? y1 - high : y1;
  context.fillRect(x, y, wide, high);
  context.fillStyle = ink(colour);
  context.fillText(text, x + 5 * unit, y + high / 2);
}

/** Limbs with both ends, and dots; thinner on small people, or a crowd would be nothing but lines. */
function pose(context, unit, found, model, k) {
  const points = found.xy[k];
  const there = found.keypoint_confidence[k].map((confidence) => confidence > 0);
  const seen = points.filter((_, joint) => there[joint]);
  const span = (axis) => Math.max(...seen.map((p) => p[axis])) - Math.min(...seen.map((p) => p[axis]));
  const width = Math.max(1.5 * unit, Math.min(5 * unit, Math.max(span(0), span(1)) / 60));
  const limbs = model.limbs.filter(([a, b]) => there[a] && there[b]);
  const line = ([a, b], colour, wide) => {
    Object.assign(context, { strokeStyle: colour, lineWidth: wide });
    context.beginPath();
    context.moveTo(...points[a]);
    context.lineTo(...points[b]);
    context.stroke();
  };
  for (const limb of limbs) line(limb, "#0008", width * 1.8); // a dark edge, to be seen on any ground
  for (const limb of limbs) line(limb, css(model.colours[limb[1]]), width);
  points.forEach(([x, y], joint) => {
    if (!there[joint]) return;
    context.fillStyle = css(model.colours[joint]);
    context.beginPath();
    context.arc(x, y, width * (points.length > 30 ? 0.5 : 1), 0, 2 * Math.PI);
    context.fill();
  });
}
