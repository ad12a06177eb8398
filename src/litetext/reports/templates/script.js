// Shows the data point nearest to the pointer; the points stand in each figure's data-points as [x, y, text].
const tip=document.getElementById('tip');
for(const svg of document.querySelectorAll('svg[data-points]')){
  const points=JSON.parse(svg.dataset.points);
  const spot=document.createElementNS('http://www.w3.org/2000/svg','circle');
  spot.setAttribute('class','spot');spot.setAttribute('r',6);
  svg.addEventListener('pointermove',event=>{
    const at=new DOMPoint(event.clientX,event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best=null,least=1600;
    for(const point of points){const far=(point[0]-at.x)**2+(point[1]-at.y)**2;if(far<least){least=far;best=point}}
    tip.hidden=!best;
    if(!best){spot.remove();return}
    spot.setAttribute('cx',best[0]);spot.setAttribute('cy',best[1]);svg.append(spot);
    tip.textContent=best[2];
    tip.style.left=Math.min(event.clientX+14,innerWidth-tip.offsetWidth-8)+'px';
    tip.style.top=event.clientY+16+'px';
  });
  svg.addEventListener('pointerleave',()=>{tip.hidden=true;spot.remove()});
}
