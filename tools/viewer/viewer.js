// Surfaces side by side, turned by one camera; see stlatent/evaluate/surfaces.py for what is shown.
import {
  AmbientLight, BufferAttribute, BufferGeometry, Color, DirectionalLight, DoubleSide, Mesh,
  MeshStandardMaterial, PerspectiveCamera, Scene, SRGBColorSpace, WebGLRenderer,
} from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';

const SECONDS_PER_TURN = 12;
const PLAIN = 0xb8b8b8; // of surfaces without colour

function numbers(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Kind(bytes.buffer);
}

/** The scene of one surface, which fills the cube [-1, 1]^3 at most. */
function sceneOf(surface, camera) {
  const geometry = new BufferGeometry();
  const places = Float32Array.from(numbers(surface.vertices, Uint16Array), (n) => (n / 65535) * 2 - 1);
  geometry.setAttribute('position', new BufferAttribute(places, 3));
  geometry.setIndex(new BufferAttribute(numbers(surface.faces, Uint32Array), 1));
  const material = new MeshStandardMaterial({ color: PLAIN, roughness: 0.8, side: DoubleSide });
  if (surface.colours) {
    const seen = numbers(surface.colours, Uint8Array);
    const light = new Float32Array(seen.length);
    const colour = new Color();
    for (let i = 0; i < seen.length; i += 3) {
      colour.setRGB(seen[i] / 255, seen[i + 1] / 255, seen[i + 2] / 255, SRGBColorSpace);
      colour.toArray(light, i);
    }
    geometry.setAttribute('color', new BufferAttribute(light, 3));
    material.vertexColors = true;
    material.color.set(0xffffff);
  }
  geometry.computeVertexNormals();
  const scene = new Scene();
  scene.add(new Mesh(geometry, material), new AmbientLight(0xffffff, 0.8), camera);
  return scene;
}

function start() {
  const figures = [...document.querySelectorAll('.surfaces')];
  const button = document.querySelector('#turn');
  if (!figures.length) return;
  let renderer;
  try {
    renderer = new WebGLRenderer({ antialias: true, alpha: true });
  } catch {
    button.replaceWith('This browser shows no WebGL: the pictures below are all there is.');
    return;
  }
  const camera = new PerspectiveCamera(35, 1, 0.1, 20);
  const lamp = new DirectionalLight(0xffffff, 2.6);
  lamp.position.set(0.5, 0.8, 1); // to the right of the viewer and above
  camera.add(lamp, lamp.target);
  lamp.target.position.set(0, 0, -1);
  camera.position.set(2.2, 1.6, 3.4);

  const views = [];
  let turning = !matchMedia('(prefers-reduced-motion: reduce)').matches;
  let last = 0, waiting = false, held = false;

  function draw(time) {
    waiting = false;
    if (turning && !held) {
      const angle = last ? ((time - last) / 1000) * ((2 * Math.PI) / SECONDS_PER_TURN) : 0;
      const { x, z } = camera.position;
      camera.position.x = x * Math.cos(angle) + z * Math.sin(angle);
      camera.position.z = z * Math.cos(angle) - x * Math.sin(angle);
      camera.lookAt(0, 0, 0);
    }
    last = time;
    for (const { canvas, scene } of views) {
      const box = canvas.getBoundingClientRect();
      if (box.bottom < 0 || box.top > innerHeight || !box.width) continue;
      const side = Math.round(box.width * Math.min(devicePixelRatio, 2));
      if (canvas.width !== side) canvas.width = canvas.height = side;
      renderer.setSize(side, side, false);
      scene.add(camera); // its lamp shines where it is
      renderer.render(scene, camera);
      const context = canvas.getContext('2d');
      context.clearRect(0, 0, side, side);
      context.drawImage(renderer.domElement, 0, 0);
    }
    if (turning) again();
  }
  function again() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }
  function say() {
    button.textContent = turning ? 'Stop turning' : 'Turn';
    last = 0;
    again();
  }

  for (const figure of figures) {
    const surfaces = JSON.parse(figure.querySelector('script').textContent);
    figure.querySelectorAll('canvas').forEach((canvas, i) => {
      views.push({ canvas, scene: sceneOf(surfaces[i], camera) });
      const controls = new OrbitControls(camera, canvas);
      controls.enablePan = false;
      controls.minDistance = 1.5;
      controls.maxDistance = 12;
      controls.addEventListener('start', () => { held = true; });
      controls.addEventListener('end', () => { held = false; turning = false; say(); });
      controls.addEventListener('change', again);
    });
  }
  button.addEventListener('click', () => { turning = !turning; say(); });
  addEventListener('scroll', again, { passive: true });
  addEventListener('resize', again);
  say();
  document.documentElement.dataset.surfaces = views.length;
}

start();
