"""All styles: prompt, filter, and the words people use for it."""

from __future__ import annotations

from . import crafts, drawings, lights, paintings, prints
from .style import Style

_ALL = (
    Style(
        "photo",
        lights.photo,
        ("photograph", "realistic photo", "camera picture", "original", "photorealistic", "real life", "natural"),
        share=1.3,
    ),
    Style(
        "pencil sketch",
        drawings.pencil_sketch,
        ("pencil drawing", "graphite drawing", "sketch", "hand drawn sketch", "pencil", "line drawing", "drawing"),
    ),
    Style(
        "oil painting",
        paintings.oil_painting,
        ("oil on canvas", "oil paint", "classical painting", "thick paint", "impasto", "painting", "rembrandt"),
        share=1.6,
    ),
    Style(
        "watercolor",
        paintings.watercolor,
        ("watercolour", "watercolor painting", "aquarelle", "water colours", "wash painting"),
        share=1.5,
    ),
    Style(
        "comic book",
        prints.comic_book,
        ("comic", "comics", "graphic novel", "cartoon", "superhero comic", "marvel comic"),
        share=1.2,
        screen=True,
    ),
    Style(
        "van gogh",
        paintings.van_gogh,
        ("starry night", "vincent van gogh", "post-impressionism", "vangogh", "swirling brush strokes"),
        screen=True,
    ),
    Style(
        "ukiyo-e",
        prints.ukiyo_e,
        ("japanese woodblock print", "hokusai", "japanese woodblock", "ukiyoe", "japanese print", "hiroshige"),
        share=1.2,
        screen=True,
    ),
    Style(
        "pixel art",
        crafts.pixel_art,
        ("8-bit", "8 bit game", "pixelated", "retro game", "pixels", "16-bit sprite", "minecraft"),
        share=1.2,
        screen=True,
    ),
    Style(
        "neon",
        lights.neon,
        ("neon lights", "neon sign", "glowing neon", "neon glow", "glowing lines", "glow in the dark"),
        share=1.2,
    ),
    Style(
        "charcoal",
        drawings.charcoal,
        ("charcoal drawing", "coal drawing", "black chalk", "charcoal sketch", "smudged drawing"),
        share=0.7,
    ),
    Style("pop art", prints.pop_art, ("andy warhol", "warhol", "screen print", "popart", "silkscreen"), share=0.8),
    Style(
        "sepia photo",
        lights.sepia,
        ("sepia", "old photograph", "vintage photo", "antique photo", "1900s photo", "daguerreotype"),
        share=0.5,
    ),
    Style(
        "anime",
        prints.anime,
        ("manga", "japanese animation", "cel shading", "anime style", "animation film", "ghibli"),
        share=1.6,
    ),
    Style(
        "blueprint",
        drawings.blueprint,
        ("technical drawing", "cyanotype", "engineering drawing", "white lines on blue", "architect plan"),
        share=0.6,
        screen=True,
    ),
    Style(
        "ink drawing",
        drawings.ink_drawing,
        ("pen and ink", "ink", "cross hatching", "black ink drawing", "etching", "engraving", "pen drawing"),
        screen=True,
    ),
    Style(
        "colored pencil",
        drawings.colored_pencil,
        ("coloured pencil", "crayon drawing", "color pencils", "crayons", "coloured crayon", "kids drawing"),
        share=0.8,
        screen=True,
    ),
    Style(
        "impressionism",
        paintings.impressionism,
        ("impressionist painting", "monet", "claude monet", "impressionist", "renoir", "water lilies"),
        share=1.5,
    ),
    Style(
        "pointillism",
        paintings.pointillism,
        ("seurat", "pointillist painting", "dots of colour", "painted dots", "dot painting"),
        share=1.5,
        screen=True,
    ),
    Style(
        "stained glass",
        crafts.stained_glass,
        ("church window", "glass window", "tiffany glass", "leaded glass", "cathedral window"),
        share=1.8,
    ),
    Style(
        "mosaic",
        crafts.mosaic,
        ("roman mosaic", "tiles", "byzantine mosaic", "ceramic tiles", "tessera"),
        share=0.7,
        screen=True,
    ),
    Style(
        "linocut",
        prints.linocut,
        ("lino print", "woodcut", "block print", "black and white print", "stencil", "linoleum print"),
        share=0.8,
    ),
    Style(
        "chalkboard",
        drawings.chalkboard,
        ("chalk drawing", "blackboard", "chalk", "chalk on a blackboard", "school board"),
        share=0.8,
    ),
    Style(
        "cyberpunk",
        lights.cyberpunk,
        ("cyber punk", "blade runner", "futuristic city", "sci-fi", "science fiction", "synthwave city"),
    ),
    Style(
        "vaporwave",
        lights.vaporwave,
        ("synthwave", "retrowave", "80s retro", "outrun", "aesthetic", "miami"),
        share=1.2,
        screen=True,
    ),
    Style(
        "thermal camera",
        lights.thermal,
        ("heat map", "thermal", "infrared", "thermal imaging", "predator vision", "heat vision"),
        share=0.6,
    ),
    Style(
        "newspaper print",
        prints.newspaper,
        ("halftone", "newspaper", "dot screen", "newsprint", "halftone dots", "old newspaper"),
        share=0.7,
        screen=True,
    ),
    Style(
        "cross-stitch",
        crafts.cross_stitch,
        ("embroidery", "cross stitch", "needlework", "stitched", "knitted", "tapestry"),
        share=0.8,
        screen=True,
    ),
    Style(
        "paper cut",
        prints.paper_cut,
        ("papercut", "paper cutout", "layered paper", "paper collage", "cut paper", "origami"),
    ),
    Style(
        "hologram",
        lights.hologram,
        ("holographic", "hologram projection", "star wars hologram", "projected light", "scan lines"),
        share=0.6,
        screen=True,
    ),
)
STYLES: dict[str, Style] = {style.prompt: style for style in _ALL}
